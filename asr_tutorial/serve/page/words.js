// Texts side by side: which words differ, and how that is shown without colour alone.

/**
 * The words of a text, each marked as the same as in the reference or not, with what the text lacks in between.
 * @returns {{kind: "same" | "other" | "missing", word: string}[]}
 */
export function differences(reference, text) {
  const [said, heard] = [reference, text].map((each) => each.split(" ").filter(Boolean));
  // cost[i][j]: the least edits from the first i words said to the first j heard.
  const cost = Array.from({ length: said.length + 1 }, (_, i) => Array.from({ length: heard.length + 1 }, (_, j) => i + j));
  for (let i = 1; i <= said.length; i++)
    for (let j = 1; j <= heard.length; j++)
      cost[i][j] = Math.min(cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (said[i - 1] === heard[j - 1] ? 0 : 1));
  const parts = [];
  let [i, j] = [said.length, heard.length];
  while (i || j) {
    const same = i && j && said[i - 1] === heard[j - 1];
    if (i && j && cost[i][j] === cost[i - 1][j - 1] + (same ? 0 : 1)) {
      parts.unshift({ kind: same ? "same" : "other", word: heard[j - 1] });
      i--, j--;
    } else if (j && cost[i][j] === cost[i][j - 1] + 1) parts.unshift({ kind: "other", word: heard[--j] });
    else parts.unshift({ kind: "missing", word: said[--i] });
  }
  return parts;
}

/** A paragraph of a text with its differences from the reference marked. */
export function marked(reference, text) {
  const paragraph = element("p", { className: "text" });
  const parts = differences(reference, text);
  parts.forEach(({ kind, word }, index) => {
    if (index) paragraph.append(" ");
    if (kind === "same") paragraph.append(word);
    else if (kind === "other") paragraph.append(element("mark", {}, word));
    else paragraph.append(element("span", { className: "missing" }, `[no ${word}]`));
  });
  if (!text) paragraph.prepend(element("span", { className: "soft" }, "(nothing) "));
  return paragraph;
}

/** An element with properties and children. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A table with a header row. */
export function table(headings, rows) {
  const cells = (tag, values) => values.map((value) => element(tag, tag === "th" ? { scope: "col" } : {}, String(value)));
  return element("table", {},
    element("thead", {}, element("tr", {}, ...cells("th", headings))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells("td", row)))));
}

const SEARCHES = {
  greedy: "decoder, greedy",
  ctc: "CTC, best path",
  prefix: "CTC, beam search",
  attention: "decoder, beam search",
  joint: "decoder and CTC, beam search",
  parallel: "all tokens at once",
};

/** What a search does, beside its short name. */
export function searchName(search) {
  if (search.endsWith("+lm")) return `${search.slice(0, -3)} with a language model`;
  return SEARCHES[search] ? `${search} (${SEARCHES[search]})` : search;
}
