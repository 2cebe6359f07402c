# %% mutant repeats_without_blank
# A token that repeats the last one is treated like any other. From paths that end in that token it would only go on: a
# second one needs a blank between, so that for it the paths that end in a blank are the only ones that count.
def next_token_scores(either, blank, last, probs):
    peak = either.amax(dim=-1, keepdim=True)
    sums = (either[..., :-1] - peak).exp() @ probs.transpose(1, 2)
    return sums.log() + peak


# %% rewritten repeats_without_blank
def next_token_scores(either, blank, last, probs):
    terms = either[..., None, :-1] + probs.log()[:, None]
    return torch.logsumexp(terms, dim=-1)


# %% mutant one_frame_late
# The prefix and its next token are said in the same number of frames: frame t says the token, so that the prefix must
# have been said in the t frames before it. Here it is one frame more, and the very first frame can say nothing.
def next_token_scores(either, blank, last, probs):
    peak = either.amax(dim=-1, keepdim=True)
    sums = (either[..., 1:] - peak).exp() @ probs.transpose(1, 2)
    last = last.clamp(min=0)
    rows = torch.arange(len(last))[:, None]
    again = ((blank[..., 1:] - peak).exp() * probs[rows, last]).sum(dim=-1, keepdim=True)
    return sums.scatter(2, last[..., None], again).log() + peak


# %% rewritten one_frame_late
def next_token_scores(either, blank, last, probs):
    batch, n = last.shape
    out = torch.logsumexp(either[..., None, 1:] + probs.log()[:, None], dim=-1)
    for b in range(batch):
        for h in range(n):
            c = int(last[b, h])
            if c >= 0:
                out[b, h, c] = torch.logsumexp(blank[b, h, 1:] + probs[b, c].log(), dim=0)
    return out


# %% mutant best_frame_only
# Only the most probable frame counts instead of the sum over all of them: the token may begin in many frames, and their
# probabilities add up.
def next_token_scores(either, blank, last, probs):
    out = (either[..., None, :-1] + probs.log()[:, None]).amax(dim=-1)
    last = last.clamp(min=0)
    rows = torch.arange(len(last))[:, None]
    again = (blank[..., :-1] + probs[rows, last].log()).amax(dim=-1, keepdim=True)
    return out.scatter(2, last[..., None], again)


# %% rewritten best_frame_only
def next_token_scores(either, blank, last, probs):
    batch, n = last.shape
    rows = []
    for b in range(batch):
        for h in range(n):
            scores = []
            for c in range(probs.shape[1]):
                before = blank if c == int(last[b, h]) else either
                scores.append((before[b, h, :-1] + probs[b, c].log()).max())
            rows.append(torch.stack(scores))
    return torch.stack(rows).view(batch, n, -1)


# %% mutant underflow
# The probabilities are computed without taking their largest one out first. After some seconds of speech a prefix has a
# probability of e^-1000, which is 0 for a computer, and the logarithm of 0 is minus infinity for every token.
def next_token_scores(either, blank, last, probs):
    sums = either[..., :-1].exp() @ probs.transpose(1, 2)
    last = last.clamp(min=0)
    rows = torch.arange(len(last))[:, None]
    again = (blank[..., :-1].exp() * probs[rows, last]).sum(dim=-1, keepdim=True)
    return sums.scatter(2, last[..., None], again).log()


# %% rewritten underflow
def next_token_scores(either, blank, last, probs):
    tokens = torch.arange(probs.shape[1])
    repeated = (tokens == last[..., None])[..., None]
    before = torch.where(repeated, blank[..., None, :-1], either[..., None, :-1]).exp()
    return (before * probs[:, None]).sum(dim=-1).log()
