# %% mutant no_look_back
# Each frame takes the best move from where the path is now, once and for all. The best path may have to take a poor frame early for
# the sake of later ones: keep the best for *every* state, and choose at the end.
def viterbi(emissions, may_skip):
    time, states = emissions.shape
    state = int(emissions[0, :2].argmax())
    path, score = [state], float(emissions[0, state])
    for frame in range(1, time):
        open_to = [s for s in (state, state + 1, state + 2) if s < states and (s < state + 2 or bool(may_skip[s]))]
        state = max(open_to, key=lambda s: float(emissions[frame, s]))
        path.append(state)
        score += float(emissions[frame, state])
    return torch.tensor(path), score


# %% rewritten no_look_back
def viterbi(emissions, may_skip):
    path = torch.zeros(len(emissions), dtype=torch.long)
    path[0] = emissions[0, :2].argmax()
    for frame in range(1, len(emissions)):
        here = int(path[frame - 1])
        reach = torch.full_like(emissions[frame], float("-inf"))
        reach[here : here + 2] = emissions[frame, here : here + 2]
        if here + 2 < emissions.shape[1] and may_skip[here + 2]:
            reach[here + 2] = emissions[frame, here + 2]
        path[frame] = reach.argmax()
    return path, float(emissions.gather(1, path[:, None]).sum())


# %% mutant skips_everywhere
# Every state is reached from two states before, so that the path leaves out tokens, or the blank between two equal ones.
def viterbi(emissions, may_skip):
    time, states = emissions.shape
    best = torch.full((states,), NEVER)
    best[:2] = emissions[0, :2]
    steps = torch.zeros(time, states, dtype=torch.long)
    for frame in range(1, time):
        sources = best.new_full((3, states), NEVER)
        sources[0] = best
        sources[1, 1:] = best[:-1]
        sources[2, 2:] = best[:-2]
        best, steps[frame] = sources.max(dim=0)
        best = best + emissions[frame]
    state = max(range(max(states - 2, 0), states), key=lambda s: float(best[s]))
    score, path = float(best[state]), torch.empty(time, dtype=torch.long)
    for frame in range(time - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    return path, score


# %% rewritten skips_everywhere
def viterbi(emissions, may_skip):
    table, never = emissions.tolist(), float("-inf")
    states = len(table[0])
    best = {s: (table[0][s], (s,)) for s in range(min(2, states))}
    for row in table[1:]:
        grown = {}
        for s in range(states):
            found = [best[p] for p in (s, s - 1, s - 2) if p in best]
            if found:
                score, walk = max(found, key=lambda item: item[0])
                grown[s] = (score + row[s], (*walk, s))
        best = grown
    score, walk = max((best.get(s, (never, (0,))) for s in {states - 1, max(states - 2, 0)}), key=lambda item: item[0])
    return torch.tensor(walk), score


# %% mutant ends_anywhere
# The path ends in the best of *all* states, so that a good beginning wins over the whole text. It has to end in the last token or the last
# blank.
def viterbi(emissions, may_skip):
    time, states = emissions.shape
    best = torch.full((states,), NEVER)
    best[:2] = emissions[0, :2]
    steps = torch.zeros(time, states, dtype=torch.long)
    for frame in range(1, time):
        sources = best.new_full((3, states), NEVER)
        sources[0] = best
        sources[1, 1:] = best[:-1]
        sources[2, 2:] = best[:-2]
        sources[2, ~may_skip] = NEVER
        best, steps[frame] = sources.max(dim=0)
        best = best + emissions[frame]
    state = int(best.argmax())
    score, path = float(best[state]), torch.empty(time, dtype=torch.long)
    for frame in range(time - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    return path, score


# %% rewritten ends_anywhere
def viterbi(emissions, may_skip):
    table, skips = emissions.tolist(), may_skip.tolist()
    states = len(table[0])
    best = {s: (table[0][s], (s,)) for s in range(min(2, states))}
    for row in table[1:]:
        grown = {}
        for s in range(states):
            found = [best[p] for p in ((s, s - 1, s - 2) if skips[s] else (s, s - 1)) if p in best]
            if found:
                score, walk = max(found, key=lambda item: item[0])
                grown[s] = (score + row[s], (*walk, s))
        best = grown
    score, walk = max(best.values(), key=lambda item: item[0])
    return torch.tensor(walk), score


# %% mutant sum_in_place_of_best
# The scores are sums over paths, as in exercise 7.3, where the best source belongs. The choices are then those of no single path, and the
# score is not that of the path that comes back.
def viterbi(emissions, may_skip):
    time, states = emissions.shape
    best = torch.full((states,), NEVER)
    best[:2] = emissions[0, :2]
    steps = torch.zeros(time, states, dtype=torch.long)
    for frame in range(1, time):
        sources = best.new_full((3, states), NEVER)
        sources[0] = best
        sources[1, 1:] = best[:-1]
        sources[2, 2:] = best[:-2]
        sources[2, ~may_skip] = NEVER
        steps[frame] = sources.argmax(dim=0)
        best = sources.logsumexp(dim=0) + emissions[frame]
    state = max(range(max(states - 2, 0), states), key=lambda s: float(best[s]))
    score, path = float(best[state]), torch.empty(time, dtype=torch.long)
    for frame in range(time - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    return path, score


# %% rewritten sum_in_place_of_best
def viterbi(emissions, may_skip):
    time, states = emissions.shape
    alphas = forward_scores(emissions[None], may_skip[None])[0]
    state = max(range(max(states - 2, 0), states), key=lambda s: float(alphas[-1, s]))
    score, path = float(alphas[-1, state]), [state]
    for frame in range(time - 2, -1, -1):
        sources = [state] + ([state - 1] if state > 0 else []) + ([state - 2] if bool(may_skip[state]) else [])
        state = max(sources, key=lambda s: float(alphas[frame, s]))
        path.append(state)
    return torch.tensor(path[::-1]), score


# %% mutant one_frame_late
# On the way back each state is written down after the step, one frame too early: the path does not fit its score. Write the state of a
# frame first, then step to the frame before.
def viterbi(emissions, may_skip):
    time, states = emissions.shape
    best = torch.full((states,), NEVER)
    best[:2] = emissions[0, :2]
    steps = torch.zeros(time, states, dtype=torch.long)
    for frame in range(1, time):
        sources = best.new_full((3, states), NEVER)
        sources[0] = best
        sources[1, 1:] = best[:-1]
        sources[2, 2:] = best[:-2]
        sources[2, ~may_skip] = NEVER
        best, steps[frame] = sources.max(dim=0)
        best = best + emissions[frame]
    state = max(range(max(states - 2, 0), states), key=lambda s: float(best[s]))
    score, path = float(best[state]), torch.empty(time, dtype=torch.long)
    for frame in range(time - 1, -1, -1):
        state -= int(steps[frame, state])
        path[frame] = state
    return path, score


# %% rewritten one_frame_late
def viterbi(emissions, may_skip):
    table, skips, never = emissions.tolist(), may_skip.tolist(), float("-inf")
    states = len(table[0])
    best = {s: (table[0][s], (s,)) for s in range(min(2, states))}
    for row in table[1:]:
        grown = {}
        for s in range(states):
            found = [best[p] for p in ((s, s - 1, s - 2) if skips[s] else (s, s - 1)) if p in best]
            if found:
                score, walk = max(found, key=lambda item: item[0])
                grown[s] = (score + row[s], (*walk, s))
        best = grown
    ends = [best.get(s, (never, (0,) * len(table))) for s in range(max(states - 2, 0), states)]
    score, walk = max(ends, key=lambda item: item[0])
    return torch.tensor([walk[0], *walk[:-1]]), score


# %% mutant last_blank_only
# The path always ends in the last blank. It may end in the last token as well: take the better of the two.
def viterbi(emissions, may_skip):
    time, states = emissions.shape
    best = torch.full((states,), NEVER)
    best[:2] = emissions[0, :2]
    steps = torch.zeros(time, states, dtype=torch.long)
    for frame in range(1, time):
        sources = best.new_full((3, states), NEVER)
        sources[0] = best
        sources[1, 1:] = best[:-1]
        sources[2, 2:] = best[:-2]
        sources[2, ~may_skip] = NEVER
        best, steps[frame] = sources.max(dim=0)
        best = best + emissions[frame]
    state = states - 1
    score, path = float(best[state]), torch.empty(time, dtype=torch.long)
    for frame in range(time - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    return path, score


# %% rewritten last_blank_only
def viterbi(emissions, may_skip):
    table, skips = emissions.tolist(), may_skip.tolist()
    states = len(table[0])
    best = {s: (table[0][s], (s,)) for s in range(min(2, states))}
    for row in table[1:]:
        grown = {}
        for s in range(states):
            found = [best[p] for p in ((s, s - 1, s - 2) if skips[s] else (s, s - 1)) if p in best]
            if found:
                score, walk = max(found, key=lambda item: item[0])
                grown[s] = (score + row[s], (*walk, s))
        best = grown
    score, walk = best.get(states - 1, (float("-inf"), (0,) * len(table)))
    return torch.tensor(walk), score
