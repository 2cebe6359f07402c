# %% loop_over_children
def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    either = np.logaddexp(blank_end, token_end)
    stay_blank = either + log_probs[blank]
    stay_token = token_end + log_probs[last]
    grown = np.where(last[:, None] == tokens, blank_end[:, None], either[:, None]) + log_probs[tokens]
    for child in np.flatnonzero(parent >= 0):
        mother, token = parent[child], last[child]
        before = blank_end[mother] if last[mother] == token else either[mother]
        stay_token[child] = np.logaddexp(stay_token[child], before + log_probs[token])
        grown[mother, tokens == token] = NEVER
    return stay_blank, stay_token, grown


# %% one_by_one
import math


def prefix_step(log_probs, blank_end, token_end, last, parent, tokens, blank):
    def add(*scores):
        highest = max(scores)
        return highest if highest == NEVER else highest + math.log(sum(math.exp(score - highest) for score in scores))

    n = len(last)
    arriving = [NEVER] * n
    grown = np.full((n, len(tokens)), NEVER)
    home = {(int(parent[i]), int(last[i])): i for i in range(n) if parent[i] >= 0}
    for i in range(n):
        for column, token in enumerate(tokens):
            source = blank_end[i] if token == last[i] else add(blank_end[i], token_end[i])
            grown[i, column] = NEVER if (i, int(token)) in home else source + log_probs[token]
    for (mother, token), child in home.items():
        source = blank_end[mother] if token == last[mother] else add(blank_end[mother], token_end[mother])
        arriving[child] = source + log_probs[token]
    stay_blank = np.array([add(blank_end[i], token_end[i]) + log_probs[blank] for i in range(n)])
    stay_token = np.array([add(token_end[i] + log_probs[last[i]], arriving[i]) for i in range(n)])
    return stay_blank, stay_token, grown
