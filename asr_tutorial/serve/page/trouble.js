// What went wrong, in words for the person at the page.

export class Trouble extends Error {
  /**
   * @param {string} code short name, from the service or our own.
   * @param {string} message what is wrong.
   * @param {string} remedy what to do about it.
   * @param {{status?: number, retryAfter?: number, again?: boolean}} more HTTP status; seconds after which to ask again;
   *     whether the same request may succeed later.
   */
  constructor(code, message, remedy = "", { status = 0, retryAfter = 0, again = false } = {}) {
    super(message);
    Object.assign(this, { code, remedy, status, retryAfter, again });
  }
}
