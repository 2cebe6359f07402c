# %% mutant goes_on_after_eos
# A text that has said EOS goes on being written and scored. What comes behind an EOS means nothing, and a text's score now
# depends on how long the others of its batch are.
def write(step, prefixes, limits, eos, choose):
    going_on = limits > 0
    ended = torch.zeros_like(going_on)
    tokens, log_probs = [prefixes[:, :0]], [torch.zeros(prefixes.shape)[:, :0]]
    while bool(going_on.any()):
        distribution = step(prefixes)
        chosen = choose(distribution)
        tokens.append(chosen[:, None])
        log_probs.append(distribution.gather(1, chosen[:, None]))
        prefixes = torch.cat([prefixes, chosen[:, None]], dim=1)
        ended |= going_on & (chosen == eos)
        going_on = going_on & ~ended & (len(tokens) - 1 < limits)
    return torch.cat(tokens, dim=1), torch.cat(log_probs, dim=1), ended


# %% rewritten goes_on_after_eos
def write(step, prefixes, limits, eos, choose):
    start, n = prefixes.shape[1], prefixes.shape[0]
    scores = torch.zeros(n, 0)
    ended = torch.zeros(n, dtype=torch.bool)
    count = 0
    while any(not bool(e) and count < int(limit) for e, limit in zip(ended, limits)):
        rows = step(prefixes)
        new = choose(rows)
        scores = torch.cat([scores, rows[torch.arange(n), new][:, None]], dim=1)
        ended = ended | ((new == eos) & (count < limits))
        prefixes = torch.cat([prefixes, new[:, None]], dim=1)
        count += 1
    return prefixes[:, start:], scores, ended


# %% mutant waits_for_an_eos_together
# It stops only in a step in which all texts say EOS at once, or at the longest limit: which texts have ended *earlier* is
# forgotten from step to step.
def write(step, prefixes, limits, eos, choose):
    tokens, log_probs = [prefixes[:, :0]], [torch.zeros(prefixes.shape)[:, :0]]
    now = torch.zeros_like(limits, dtype=torch.bool)
    while not bool(now.all()) and len(tokens) - 1 < int(limits.max()):
        distribution = step(prefixes)
        chosen = choose(distribution)
        tokens.append(chosen[:, None])
        log_probs.append(distribution.gather(1, chosen[:, None]))
        prefixes = torch.cat([prefixes, chosen[:, None]], dim=1)
        now = chosen == eos
    return torch.cat(tokens, dim=1), torch.cat(log_probs, dim=1), now


# %% rewritten waits_for_an_eos_together
def write(step, prefixes, limits, eos, choose):
    start, n = prefixes.shape[1], len(prefixes)
    scores, said = torch.zeros(n, 0), torch.zeros(n, dtype=torch.bool)
    for _ in range(max(limits.tolist())):
        rows = step(prefixes)
        new = choose(rows)
        prefixes = torch.cat((prefixes, new.view(n, 1)), 1)
        scores = torch.cat((scores, rows[range(n), new].view(n, 1)), 1)
        said = new.eq(eos)
        if said.all():
            break
    return prefixes[:, start:], scores, said


# %% mutant one_limit_for_all
# The longest limit is used for every text. Limits belong to the texts: otherwise an utterance is recognised differently in
# another batch.
def write(step, prefixes, limits, eos, choose):
    going_on = limits > 0
    ended = torch.zeros_like(going_on)
    tokens, log_probs = [prefixes[:, :0]], [torch.zeros(prefixes.shape)[:, :0]]
    while bool(going_on.any()):
        distribution = step(prefixes)
        chosen = torch.where(going_on, choose(distribution), eos)
        log_prob = distribution.gather(1, chosen[:, None])
        tokens.append(chosen[:, None])
        log_probs.append(log_prob.where(going_on[:, None], 0.0))
        prefixes = torch.cat([prefixes, chosen[:, None]], dim=1)
        ended |= going_on & (chosen == eos)
        going_on = going_on & ~ended & (len(tokens) - 1 < limits.max())
    return torch.cat(tokens, dim=1), torch.cat(log_probs, dim=1), ended


# %% rewritten one_limit_for_all
def write(step, prefixes, limits, eos, choose):
    start, n = prefixes.shape[1], len(prefixes)
    closed, ended = limits == 0, torch.zeros(n, dtype=torch.bool)
    scores = torch.zeros(n, 0)
    for _ in range(int(limits.max())):
        rows = step(prefixes)
        new = choose(rows)
        new[closed] = eos
        score = rows[torch.arange(n), new]
        score[closed] = 0.0
        prefixes = torch.cat([prefixes, new[:, None]], dim=1)
        scores = torch.cat([scores, score[:, None]], dim=1)
        ended[(new == eos) & ~closed] = True
        closed = closed | ended
        if closed.all():
            break
    return prefixes[:, start:], scores, ended


# %% mutant reads_only_the_last
# The model is shown the newest token alone instead of everything written so far. Without its past it does not know where
# in the text it is. (A cache, where there is one, is the business of step.)
def write(step, prefixes, limits, eos, choose):
    going_on = limits > 0
    ended = torch.zeros_like(going_on)
    tokens, log_probs = [prefixes[:, :0]], [torch.zeros(prefixes.shape)[:, :0]]
    while bool(going_on.any()):
        distribution = step(prefixes)
        chosen = torch.where(going_on, choose(distribution), eos)
        log_prob = distribution.gather(1, chosen[:, None])
        tokens.append(chosen[:, None])
        log_probs.append(log_prob.where(going_on[:, None], 0.0))
        prefixes = chosen[:, None]
        ended |= going_on & (chosen == eos)
        going_on = going_on & ~ended & (len(tokens) - 1 < limits)
    return torch.cat(tokens, dim=1), torch.cat(log_probs, dim=1), ended


# %% rewritten reads_only_the_last
def write(step, prefixes, limits, eos, choose):
    n, count = len(prefixes), 0
    out, scores = torch.zeros(n, 0, dtype=torch.long), torch.zeros(n, 0)
    closed, ended = limits == 0, torch.zeros(n, dtype=torch.bool)
    newest = prefixes
    while not closed.all():
        rows = step(newest)
        new = choose(rows)
        new[closed] = eos
        score = rows[torch.arange(n), new] * ~closed
        out, scores = torch.cat([out, new[:, None]], 1), torch.cat([scores, score[:, None]], 1)
        ended = ended | (~closed & (new == eos))
        count += 1
        closed = closed | ended | (limits <= count)
        newest = new.reshape(n, 1)
    return out, scores, ended
