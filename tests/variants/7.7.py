# %% from_the_last_frame
def backward_scores(emissions, may_skip, input_lengths, target_lengths):
    batch, time, states = emissions.shape
    place = torch.arange(states, device=emissions.device)
    final = 2 * target_lengths[:, None]
    ends = (place == final) | (place == final - 1)  # (batch, states)
    beyond = place > final
    barred = torch.zeros_like(emissions[:, 0]).masked_fill(~F.pad(may_skip, (0, 2))[:, 2:], NEVER)
    later = torch.full_like(emissions[:, 0], NEVER)
    out = []
    for frame in range(time - 1, -1, -1):
        padded = F.pad(later.masked_fill(beyond, NEVER), (0, 2), value=NEVER)
        onward = torch.logaddexp(torch.logaddexp(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:] + barred)
        starting = torch.zeros_like(onward).masked_fill(~ends, NEVER)
        is_last = (input_lengths - 1 == frame)[:, None]
        later = torch.where(is_last, starting, onward) + emissions[:, frame]
        out.append(later)
    return torch.stack(out[::-1], dim=1)


# %% one_by_one
def backward_scores(emissions, may_skip, input_lengths, target_lengths):
    betas = torch.full_like(emissions, NEVER)
    for row, (time, length) in enumerate(zip(input_lengths.tolist(), target_lengths.tolist(), strict=True)):
        count = 2 * length + 1
        later = emissions.new_full((count,), NEVER)
        later[max(count - 2, 0) :] = emissions[row, time - 1, max(count - 2, 0) : count]
        betas[row, time - 1, :count] = later
        for frame in range(time - 2, -1, -1):
            now = later.clone()
            for s in range(count - 1):
                now[s] = torch.logaddexp(now[s], later[s + 1])
                if s + 2 < count and may_skip[row, s + 2]:
                    now[s] = torch.logaddexp(now[s], later[s + 2])
            later = now + emissions[row, frame, :count]
            betas[row, frame, :count] = later
    return betas
