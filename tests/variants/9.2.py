# %% preallocated
def write(step, prefixes, limits, eos, choose):
    n, longest = len(prefixes), int(limits.max())
    tokens = torch.full((n, longest), eos, dtype=prefixes.dtype, device=prefixes.device)
    scores = torch.zeros(n, longest, device=prefixes.device)
    ended = torch.zeros(n, dtype=torch.bool, device=prefixes.device)
    steps = 0
    while steps < longest:
        going_on = ~ended & (steps < limits)
        if not bool(going_on.any()):
            break
        rows = step(torch.cat([prefixes, tokens[:, :steps]], dim=1))
        picked = choose(rows)
        tokens[going_on, steps] = picked[going_on]
        scores[going_on, steps] = rows[going_on, picked[going_on]].to(scores.dtype)
        ended[going_on] = picked[going_on] == eos
        steps += 1
    return tokens[:, :steps], scores[:, :steps], ended


# %% lists
def write(step, prefixes, limits, eos, choose):
    texts = [[] for _ in limits]
    scores = [[] for _ in limits]
    steps = 0

    def is_open(i):
        return len(texts[i]) < int(limits[i]) and eos not in texts[i]

    while any(is_open(i) for i in range(len(texts))):
        filled = torch.tensor([text + [eos] * (steps - len(text)) for text in texts], dtype=torch.long)
        rows = step(torch.cat([prefixes, filled.reshape(len(texts), steps).to(prefixes.device)], dim=1))
        picked = choose(rows).tolist()
        for i, token in enumerate(picked):
            if is_open(i):
                texts[i].append(token)
                scores[i].append(float(rows[i, token]))
        steps += 1
    tokens = [text + [eos] * (steps - len(text)) for text in texts]
    padded = [row + [0.0] * (steps - len(row)) for row in scores]
    shape = (len(texts), steps)
    return (
        torch.tensor(tokens, dtype=torch.long, device=prefixes.device).reshape(shape),
        torch.tensor(padded, device=prefixes.device).reshape(shape),
        torch.tensor([eos in text for text in texts], device=prefixes.device),
    )
