# %% padded
def viterbi(emissions, may_skip):
    time, states = emissions.shape
    barred = torch.zeros(states, dtype=emissions.dtype).masked_fill(~may_skip, float("-inf"))
    row = torch.full((states + 2,), float("-inf"), dtype=emissions.dtype)
    row[2:4] = emissions[0, :2]
    moves = []
    for emission in emissions[1:]:
        stay, step, skip = row[2:], row[1:-1], row[:-2] + barred
        move = torch.where(step > stay, 1, 0)
        top = torch.maximum(stay, step)
        move = torch.where(skip > top, 2, move)
        row[2:] = torch.maximum(top, skip) + emission
        moves.append(move.tolist())
    ends = row[2:].tolist()
    state = states - 1 if states == 1 or ends[-1] >= ends[-2] else states - 2
    score, path = ends[state], [state]
    for move in reversed(moves):
        state = max(state - move[state], 0)
        path.append(state)
    return torch.tensor(path[::-1]), score


# %% whole_walks
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
    ends = [best.get(s, (float("-inf"), (0,) * len(table))) for s in range(max(states - 2, 0), states)]
    score, walk = max(ends, key=lambda item: item[0])
    return torch.tensor(walk), score
