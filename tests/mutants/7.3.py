# %% mutant skips_everywhere
# Every state is reached from two states before. That skips whole tokens, and the blank between equal ones: paths of other texts are
# counted. `may_skip` says where a skip is allowed.
def forward_scores(emissions, may_skip):
    alphas = torch.full_like(emissions, NEVER)
    alphas[:, 0, :2] = emissions[:, 0, :2]
    for frame in range(1, emissions.shape[1]):
        before = alphas[:, frame - 1]
        now = before.clone()
        now[:, 1:] = torch.logaddexp(now[:, 1:], before[:, :-1])
        now[:, 2:] = torch.logaddexp(now[:, 2:], before[:, :-2])
        alphas[:, frame] = now + emissions[:, frame]
    return alphas


def log_likelihood(alphas, input_lengths, target_lengths):
    rows = torch.arange(len(alphas))
    last = alphas[rows, input_lengths - 1]
    final = last[rows, (2 * target_lengths - 1).clamp(min=0)].masked_fill(target_lengths == 0, NEVER)
    return torch.logaddexp(last[rows, 2 * target_lengths], final)


# %% rewritten skips_everywhere
def forward_scores(emissions, may_skip):
    frames = [F.pad(emissions[:, 0, :2], (0, max(emissions.shape[2] - 2, 0)), value=NEVER)]
    for emission in emissions.unbind(1)[1:]:
        padded = F.pad(frames[-1], (2, 0), value=NEVER)
        sources = torch.stack([padded[:, 2:], padded[:, 1:-1], padded[:, :-2]])
        frames.append(sources.logsumexp(0) + emission)
    return torch.stack(frames, dim=1)


def log_likelihood(alphas, input_lengths, target_lengths):
    totals = []
    for alpha, time, length in zip(alphas, input_lengths.tolist(), target_lengths.tolist(), strict=True):
        totals.append(alpha[time - 1, max(2 * length - 1, 0) : 2 * length + 1].logsumexp(0))
    return torch.stack(totals)


# %% mutant starts_anywhere
# In the first frame every state is allowed, so that a path can begin in the middle of the text and leave out what comes before. It
# begins in the first blank or the first token.
def forward_scores(emissions, may_skip):
    alphas = torch.full_like(emissions, NEVER)
    alphas[:, 0] = emissions[:, 0]
    no_skip = torch.zeros_like(emissions[:, 0]).masked_fill(~may_skip, NEVER)[:, 2:]
    for frame in range(1, emissions.shape[1]):
        before = alphas[:, frame - 1]
        now = before.clone()
        now[:, 1:] = torch.logaddexp(now[:, 1:], before[:, :-1])
        now[:, 2:] = torch.logaddexp(now[:, 2:], before[:, :-2] + no_skip)
        alphas[:, frame] = now + emissions[:, frame]
    return alphas


def log_likelihood(alphas, input_lengths, target_lengths):
    rows = torch.arange(len(alphas))
    last = alphas[rows, input_lengths - 1]
    final = last[rows, (2 * target_lengths - 1).clamp(min=0)].masked_fill(target_lengths == 0, NEVER)
    return torch.logaddexp(last[rows, 2 * target_lengths], final)


# %% rewritten starts_anywhere
def forward_scores(emissions, may_skip):
    frames = [emissions[:, 0]]
    for emission in emissions.unbind(1)[1:]:
        padded = F.pad(frames[-1], (2, 0), value=NEVER)
        skipped = torch.where(may_skip, padded[:, :-2], torch.full_like(emission, NEVER))
        frames.append(torch.stack([padded[:, 2:], padded[:, 1:-1], skipped]).logsumexp(0) + emission)
    return torch.stack(frames, dim=1)


def log_likelihood(alphas, input_lengths, target_lengths):
    totals = []
    for alpha, time, length in zip(alphas, input_lengths.tolist(), target_lengths.tolist(), strict=True):
        totals.append(alpha[time - 1, max(2 * length - 1, 0) : 2 * length + 1].logsumexp(0))
    return torch.stack(totals)


# %% mutant never_stays
# A path cannot stay in its state: each frame has to move on. But a token lasts for several frames, and so does a pause.
def forward_scores(emissions, may_skip):
    alphas = torch.full_like(emissions, NEVER)
    alphas[:, 0, :2] = emissions[:, 0, :2]
    no_skip = torch.zeros_like(emissions[:, 0]).masked_fill(~may_skip, NEVER)[:, 2:]
    for frame in range(1, emissions.shape[1]):
        before = alphas[:, frame - 1]
        now = torch.full_like(before, NEVER)
        now[:, 1:] = before[:, :-1]
        now[:, 2:] = torch.logaddexp(now[:, 2:], before[:, :-2] + no_skip)
        alphas[:, frame] = now + emissions[:, frame]
    return alphas


def log_likelihood(alphas, input_lengths, target_lengths):
    rows = torch.arange(len(alphas))
    last = alphas[rows, input_lengths - 1]
    final = last[rows, (2 * target_lengths - 1).clamp(min=0)].masked_fill(target_lengths == 0, NEVER)
    return torch.logaddexp(last[rows, 2 * target_lengths], final)


# %% rewritten never_stays
def forward_scores(emissions, may_skip):
    frames = [F.pad(emissions[:, 0, :2], (0, max(emissions.shape[2] - 2, 0)), value=NEVER)]
    for emission in emissions.unbind(1)[1:]:
        padded = F.pad(frames[-1], (2, 0), value=NEVER)
        skipped = torch.where(may_skip, padded[:, :-2], torch.full_like(emission, NEVER))
        frames.append(torch.stack([padded[:, 1:-1], skipped]).logsumexp(0) + emission)
    return torch.stack(frames, dim=1)


def log_likelihood(alphas, input_lengths, target_lengths):
    totals = []
    for alpha, time, length in zip(alphas, input_lengths.tolist(), target_lengths.tolist(), strict=True):
        totals.append(alpha[time - 1, max(2 * length - 1, 0) : 2 * length + 1].logsumexp(0))
    return torch.stack(totals)


# %% mutant best_in_place_of_sum
# The best of the three sources is taken where their sum belongs: that is the probability of the single best path (exercise 7.4), not of
# all paths together.
def forward_scores(emissions, may_skip):
    alphas = torch.full_like(emissions, NEVER)
    alphas[:, 0, :2] = emissions[:, 0, :2]
    no_skip = torch.zeros_like(emissions[:, 0]).masked_fill(~may_skip, NEVER)[:, 2:]
    for frame in range(1, emissions.shape[1]):
        before = alphas[:, frame - 1]
        now = before.clone()
        now[:, 1:] = torch.maximum(now[:, 1:], before[:, :-1])
        now[:, 2:] = torch.maximum(now[:, 2:], before[:, :-2] + no_skip)
        alphas[:, frame] = now + emissions[:, frame]
    return alphas


def log_likelihood(alphas, input_lengths, target_lengths):
    rows = torch.arange(len(alphas))
    last = alphas[rows, input_lengths - 1]
    final = last[rows, (2 * target_lengths - 1).clamp(min=0)].masked_fill(target_lengths == 0, NEVER)
    return torch.logaddexp(last[rows, 2 * target_lengths], final)


# %% rewritten best_in_place_of_sum
def forward_scores(emissions, may_skip):
    frames = [F.pad(emissions[:, 0, :2], (0, max(emissions.shape[2] - 2, 0)), value=NEVER)]
    for emission in emissions.unbind(1)[1:]:
        padded = F.pad(frames[-1], (2, 0), value=NEVER)
        skipped = torch.where(may_skip, padded[:, :-2], torch.full_like(emission, NEVER))
        frames.append(torch.stack([padded[:, 2:], padded[:, 1:-1], skipped]).amax(0) + emission)
    return torch.stack(frames, dim=1)


def log_likelihood(alphas, input_lengths, target_lengths):
    totals = []
    for alpha, time, length in zip(alphas, input_lengths.tolist(), target_lengths.tolist(), strict=True):
        totals.append(alpha[time - 1, max(2 * length - 1, 0) : 2 * length + 1].logsumexp(0))
    return torch.stack(totals)


# %% mutant last_blank_only
# Only the last blank is read. Paths may end in the last token as well; both are added up.
def forward_scores(emissions, may_skip):
    alphas = torch.full_like(emissions, NEVER)
    alphas[:, 0, :2] = emissions[:, 0, :2]
    no_skip = torch.zeros_like(emissions[:, 0]).masked_fill(~may_skip, NEVER)[:, 2:]
    for frame in range(1, emissions.shape[1]):
        before = alphas[:, frame - 1]
        now = before.clone()
        now[:, 1:] = torch.logaddexp(now[:, 1:], before[:, :-1])
        now[:, 2:] = torch.logaddexp(now[:, 2:], before[:, :-2] + no_skip)
        alphas[:, frame] = now + emissions[:, frame]
    return alphas


def log_likelihood(alphas, input_lengths, target_lengths):
    rows = torch.arange(len(alphas))
    return alphas[rows, input_lengths - 1, 2 * target_lengths]


# %% rewritten last_blank_only
def forward_scores(emissions, may_skip):
    frames = [F.pad(emissions[:, 0, :2], (0, max(emissions.shape[2] - 2, 0)), value=NEVER)]
    for emission in emissions.unbind(1)[1:]:
        padded = F.pad(frames[-1], (2, 0), value=NEVER)
        skipped = torch.where(may_skip, padded[:, :-2], torch.full_like(emission, NEVER))
        frames.append(torch.stack([padded[:, 2:], padded[:, 1:-1], skipped]).logsumexp(0) + emission)
    return torch.stack(frames, dim=1)


def log_likelihood(alphas, input_lengths, target_lengths):
    pairs = zip(alphas, input_lengths.tolist(), target_lengths.tolist(), strict=True)
    return torch.stack([alpha[time - 1, 2 * length] for alpha, time, length in pairs])


# %% mutant end_of_the_padding
# The total is read in the last frame of the tensor, for all utterances alike. A shorter one ends earlier: what comes after its own last
# frame is padding.
def forward_scores(emissions, may_skip):
    alphas = torch.full_like(emissions, NEVER)
    alphas[:, 0, :2] = emissions[:, 0, :2]
    no_skip = torch.zeros_like(emissions[:, 0]).masked_fill(~may_skip, NEVER)[:, 2:]
    for frame in range(1, emissions.shape[1]):
        before = alphas[:, frame - 1]
        now = before.clone()
        now[:, 1:] = torch.logaddexp(now[:, 1:], before[:, :-1])
        now[:, 2:] = torch.logaddexp(now[:, 2:], before[:, :-2] + no_skip)
        alphas[:, frame] = now + emissions[:, frame]
    return alphas


def log_likelihood(alphas, input_lengths, target_lengths):
    rows = torch.arange(len(alphas))
    last = alphas[:, -1]
    final = last[rows, (2 * target_lengths - 1).clamp(min=0)].masked_fill(target_lengths == 0, NEVER)
    return torch.logaddexp(last[rows, 2 * target_lengths], final)


# %% rewritten end_of_the_padding
def forward_scores(emissions, may_skip):
    frames = [F.pad(emissions[:, 0, :2], (0, max(emissions.shape[2] - 2, 0)), value=NEVER)]
    for emission in emissions.unbind(1)[1:]:
        padded = F.pad(frames[-1], (2, 0), value=NEVER)
        skipped = torch.where(may_skip, padded[:, :-2], torch.full_like(emission, NEVER))
        frames.append(torch.stack([padded[:, 2:], padded[:, 1:-1], skipped]).logsumexp(0) + emission)
    return torch.stack(frames, dim=1)


def log_likelihood(alphas, input_lengths, target_lengths):
    totals = []
    for alpha, length in zip(alphas, target_lengths.tolist(), strict=True):
        totals.append(alpha[-1, max(2 * length - 1, 0) : 2 * length + 1].logsumexp(0))
    return torch.stack(totals)


# %% mutant underflow
# The recursion leaves the log domain: probabilities are multiplied frame by frame, and after a hundred frames or so their product is
# too small for a float and becomes 0, the loss infinite.
def forward_scores(emissions, may_skip):
    probabilities = emissions.exp()
    alphas = torch.zeros_like(emissions)
    alphas[:, 0, :2] = probabilities[:, 0, :2]
    skips = may_skip[:, 2:].to(emissions.dtype)
    for frame in range(1, emissions.shape[1]):
        before = alphas[:, frame - 1]
        now = before.clone()
        now[:, 1:] += before[:, :-1]
        now[:, 2:] += before[:, :-2] * skips
        alphas[:, frame] = now * probabilities[:, frame]
    return alphas.log()


def log_likelihood(alphas, input_lengths, target_lengths):
    rows = torch.arange(len(alphas))
    last = alphas[rows, input_lengths - 1]
    final = last[rows, (2 * target_lengths - 1).clamp(min=0)].masked_fill(target_lengths == 0, NEVER)
    return torch.logaddexp(last[rows, 2 * target_lengths], final)


# %% rewritten underflow
def forward_scores(emissions, may_skip):
    time, states = emissions.shape[1:]
    now = emissions[:, 0].exp()
    now[:, 2:] = 0
    frames = [now]
    for frame in range(1, time):
        padded = F.pad(frames[-1], (2, 0))
        arriving = padded[:, 2:] + padded[:, 1:-1] + padded[:, :-2] * may_skip
        frames.append(arriving * emissions[:, frame].exp())
    return torch.log(torch.stack(frames, dim=1))


def log_likelihood(alphas, input_lengths, target_lengths):
    totals = []
    for alpha, time, length in zip(alphas, input_lengths.tolist(), target_lengths.tolist(), strict=True):
        totals.append(alpha[time - 1, max(2 * length - 1, 0) : 2 * length + 1].logsumexp(0))
    return torch.stack(totals)


# %% mutant wraps_round
# What is pushed out behind the last state comes in again before the first: roll turns a row round, and an index of -1 is the last. Into
# the first state no path comes from elsewhere.
def forward_scores(emissions, may_skip):
    alphas = torch.full_like(emissions, NEVER)
    alphas[:, 0, :2] = emissions[:, 0, :2]
    for frame in range(1, emissions.shape[1]):
        before = alphas[:, frame - 1]
        skipped = before.roll(2, dims=1).masked_fill(~may_skip, NEVER)
        now = torch.logaddexp(torch.logaddexp(before, before.roll(1, dims=1)), skipped)
        alphas[:, frame] = now + emissions[:, frame]
    return alphas


def log_likelihood(alphas, input_lengths, target_lengths):
    rows = torch.arange(len(alphas))
    last = alphas[rows, input_lengths - 1]
    final = last[rows, (2 * target_lengths - 1).clamp(min=0)].masked_fill(target_lengths == 0, NEVER)
    return torch.logaddexp(last[rows, 2 * target_lengths], final)


# %% rewritten wraps_round
def forward_scores(emissions, may_skip):
    alphas = torch.full_like(emissions, NEVER)
    alphas[:, 0, :2] = emissions[:, 0, :2]
    for frame in range(1, emissions.shape[1]):
        before = alphas[:, frame - 1]
        moved = torch.cat([before[:, -1:], before[:, :-1]], dim=1)
        skipped = torch.cat([before[:, -2:], before[:, :-2]], dim=1)
        sources = torch.stack([before, moved, torch.where(may_skip, skipped, torch.full_like(skipped, NEVER))])
        alphas[:, frame] = sources.logsumexp(0) + emissions[:, frame]
    return alphas


def log_likelihood(alphas, input_lengths, target_lengths):
    totals = []
    for alpha, time, length in zip(alphas, input_lengths.tolist(), target_lengths.tolist(), strict=True):
        totals.append(alpha[time - 1, max(2 * length - 1, 0) : 2 * length + 1].logsumexp(0))
    return torch.stack(totals)
