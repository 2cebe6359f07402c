# %% mutant skips_of_arrivals
# A skip is looked up at the state that a path leaves, as going forwards. `may_skip` belongs to the state where a skip *arrives*, and
# from the other end that is the later one: from s a path may jump to s + 2 where may_skip[s + 2] is True.
def backward_scores(emissions, may_skip, input_lengths, target_lengths):
    mirror = _Mirror(emissions, input_lengths, target_lengths)
    flipped = may_skip[mirror.rows, mirror.states]
    return mirror.image(forward_scores(mirror.image(emissions), flipped))


# %% rewritten skips_of_arrivals
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
                if s + 2 < count and may_skip[row, s]:
                    now[s] = torch.logaddexp(now[s], later[s + 2])
            later = now + emissions[row, frame, :count]
            betas[row, frame, :count] = later
    return betas


# %% mutant this_frame_left_out
# The emission of the state's own frame is left out. Books define beta both ways; here it is in, as in alpha, and the
# posterior takes it out once.
def backward_scores(emissions, may_skip, input_lengths, target_lengths):
    mirror = _Mirror(emissions, input_lengths, target_lengths)
    betas = mirror.image(forward_scores(mirror.image(emissions), mirror.image_of_skips(may_skip)))
    return betas - emissions


# %% rewritten this_frame_left_out
def backward_scores(emissions, may_skip, input_lengths, target_lengths):
    betas = torch.full_like(emissions, NEVER)
    for row, (time, length) in enumerate(zip(input_lengths.tolist(), target_lengths.tolist(), strict=True)):
        count = 2 * length + 1
        betas[row, time - 1, max(count - 2, 0) : count] = 0.0
        for frame in range(time - 2, -1, -1):
            later = betas[row, frame + 1, :count] + emissions[row, frame + 1, :count]
            for s in range(count):
                sources = [later[s]]
                if s + 1 < count:
                    sources.append(later[s + 1])
                if s + 2 < count and may_skip[row, s + 2]:
                    sources.append(later[s + 2])
                betas[row, frame, s] = torch.stack(sources).logsumexp(0)
    return betas


# %% mutant end_of_the_tensor
# Every utterance is read from the end of the tensor. A shorter one ends earlier, in frames and in states: what follows is padding.
def backward_scores(emissions, may_skip, input_lengths, target_lengths):
    batch, time, states = emissions.shape
    frames, tokens = torch.full((batch,), time), torch.full((batch,), (states - 1) // 2)
    mirror = _Mirror(emissions, frames, tokens)
    return mirror.image(forward_scores(mirror.image(emissions), mirror.image_of_skips(may_skip)))


# %% rewritten end_of_the_tensor
def backward_scores(emissions, may_skip, input_lengths, target_lengths):
    departures = F.pad(may_skip, (0, 2))[:, 2:]
    return forward_scores(emissions.flip(1, 2), departures.flip(1)).flip(1, 2)


# %% mutant last_blank_only
# Read from the end, paths begin in the last blank only. The last token is an end as well.
def backward_scores(emissions, may_skip, input_lengths, target_lengths):
    batch, time, states = emissions.shape
    departures = F.pad(may_skip, (0, 2))[:, 2:]
    rows, betas = torch.arange(batch), torch.full_like(emissions, NEVER)
    later = torch.full_like(emissions[:, 0], NEVER)
    for frame in range(time - 1, -1, -1):
        padded = F.pad(later, (0, 2), value=NEVER)
        skipped = padded[:, 2:].masked_fill(~departures, NEVER)
        later = torch.stack([padded[:, :-2], padded[:, 1:-1], skipped]).logsumexp(0) + emissions[:, frame]
        ending = frame == input_lengths - 1
        later[ending] = NEVER
        final = 2 * target_lengths
        later[rows[ending], final[ending]] = emissions[rows[ending], frame, final[ending]]
        betas[:, frame] = later
    return betas


# %% rewritten last_blank_only
def backward_scores(emissions, may_skip, input_lengths, target_lengths):
    betas = torch.full_like(emissions, NEVER)
    for row, (time, length) in enumerate(zip(input_lengths.tolist(), target_lengths.tolist(), strict=True)):
        count = 2 * length + 1
        later = emissions.new_full((count,), NEVER)
        later[count - 1] = emissions[row, time - 1, count - 1]
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
