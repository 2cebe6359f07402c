# %% shifted_copies
def forward_scores(emissions, may_skip):
    batch, time, states = emissions.shape
    barred = torch.zeros_like(emissions[:, 0]).masked_fill(~may_skip, NEVER)
    # Two columns of minus infinity on the left, so that each source is a slice of one row.
    row = emissions.new_full((batch, states + 2), NEVER)
    row[:, 2:4] = emissions[:, 0, :2]
    out = [row[:, 2:].clone()]
    for frame in range(1, time):
        skipped = row[:, :-2] + barred
        arrived = torch.logaddexp(torch.logaddexp(skipped, row[:, 1:-1]), row[:, 2:])
        out.append(arrived + emissions[:, frame])
        row[:, 2:] = out[-1]
    return torch.stack(out, dim=1)


def log_likelihood(alphas, input_lengths, target_lengths):
    at = (input_lengths - 1)[:, None, None].expand(-1, 1, alphas.shape[2])
    final = alphas.gather(1, at)[:, 0]  # (batch, states)
    place = torch.arange(alphas.shape[2], device=alphas.device)
    ends = (place == 2 * target_lengths[:, None]) | (place == 2 * target_lengths[:, None] - 1)
    return final.masked_fill(~ends, NEVER).logsumexp(dim=1)


# %% one_state_at_a_time
import math


def forward_scores(emissions, may_skip):
    batch, time, states = emissions.shape
    alphas = torch.full((batch, time, states), NEVER, dtype=emissions.dtype)
    for row in range(batch):
        skips = may_skip[row].tolist()
        table = emissions[row].tolist()
        before = [table[0][s] if s < 2 else -math.inf for s in range(states)]
        alphas[row, 0] = torch.tensor(before)
        for frame in range(1, time):
            now = []
            for s in range(states):
                sources = [before[s], before[s - 1] if s else -math.inf, before[s - 2] if skips[s] else -math.inf]
                highest = max(sources)
                if highest == -math.inf:
                    now.append(-math.inf)
                else:
                    now.append(highest + math.log(sum(math.exp(x - highest) for x in sources)) + table[frame][s])
            before = now
            alphas[row, frame] = torch.tensor(before)
    return alphas


def log_likelihood(alphas, input_lengths, target_lengths):
    totals = []
    for row, (time, length) in enumerate(zip(input_lengths.tolist(), target_lengths.tolist(), strict=True)):
        ends = alphas[row, time - 1, 2 * length : 2 * length + 1]
        if length > 0:
            ends = alphas[row, time - 1, [2 * length - 1, 2 * length]]
        highest = float(ends.max())
        totals.append(highest if highest == -math.inf else highest + math.log(float((ends - highest).exp().sum())))
    return torch.tensor(totals, dtype=alphas.dtype)
