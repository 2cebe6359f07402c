# %% mutant corpus_order
# The utterances are not sorted: they share a batch in the order of the corpus. Long and short ones meet, and the padding share
# is what sorting was meant to bring down.
def sequential_batches(lengths, batch_frames, frame_multiple=1):
    plans = []
    for index in range(len(lengths)):
        indices = [*plans[-1].indices, index] if plans else [index]
        frames = round_up(max(int(lengths[i]) for i in indices), frame_multiple)
        if plans and len(indices) * frames <= batch_frames:
            plans[-1] = BatchPlan(frames, indices)
        else:
            plans.append(BatchPlan(round_up(int(lengths[index]), frame_multiple), [index]))
    return plans


def padding_share(plans, lengths):
    padded = sum(plan.frames * len(plan.indices) for plan in plans)
    real = sum(int(lengths[index]) for plan in plans for index in plan.indices)
    return 1 - real / padded if padded else 0.0


# %% rewritten corpus_order
def sequential_batches(lengths, batch_frames, frame_multiple=1):
    groups, current, longest = [], [], 0
    for index, length in enumerate(lengths):
        rounded = -(-int(length) // frame_multiple) * frame_multiple
        if current and max(longest, rounded) * (len(current) + 1) > batch_frames:
            groups.append(BatchPlan(longest, current))
            current, longest = [], 0
        current.append(index)
        longest = max(longest, rounded)
    return [*groups, BatchPlan(longest, current)] if current else groups


def padding_share(plans, lengths):
    computed = real = 0
    for frames, indices, _ in plans:
        for index in indices:
            computed += frames
            real += int(lengths[index])
    return (computed - real) / computed if computed else 0.0


# %% mutant budget_of_real_frames
# The budget counts real frames alone. Padding takes as much memory as speech, so that some batches are larger than the memory that
# the budget stands for.
def sequential_batches(lengths, batch_frames, frame_multiple=1):
    plans = []
    for index in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        if plans and sum(int(lengths[i]) for i in [*plans[-1].indices, index]) <= batch_frames:
            plans[-1].indices.append(index)
        else:
            plans.append(BatchPlan(round_up(int(lengths[index]), frame_multiple), [index]))
    return plans


def padding_share(plans, lengths):
    padded = sum(plan.frames * len(plan.indices) for plan in plans)
    real = sum(int(lengths[index]) for plan in plans for index in plan.indices)
    return 1 - real / padded if padded else 0.0


# %% rewritten budget_of_real_frames
def sequential_batches(lengths, batch_frames, frame_multiple=1):
    plans, total = [], 0
    for index in sorted(range(len(lengths)), key=lambda i: -int(lengths[i])):
        if not plans or total + int(lengths[index]) > batch_frames:
            plans.append(BatchPlan(-(-int(lengths[index]) // frame_multiple) * frame_multiple, []))
            total = 0
        plans[-1].indices.append(index)
        total += int(lengths[index])
    return plans


def padding_share(plans, lengths):
    computed = real = 0
    for frames, indices, _ in plans:
        for index in indices:
            computed += frames
            real += int(lengths[index])
    return (computed - real) / computed if computed else 0.0


# %% mutant not_rounded
# The padded length is that of the longest utterance, frame_multiple or not. Almost every batch then has a shape of its own, and
# kernels are built anew for each.
def sequential_batches(lengths, batch_frames, frame_multiple=1):
    plans = []
    for index in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        if plans and (len(plans[-1].indices) + 1) * plans[-1].frames <= batch_frames:
            plans[-1].indices.append(index)
        else:
            plans.append(BatchPlan(int(lengths[index]), [index]))
    return plans


def padding_share(plans, lengths):
    padded = sum(plan.frames * len(plan.indices) for plan in plans)
    real = sum(int(lengths[index]) for plan in plans for index in plan.indices)
    return 1 - real / padded if padded else 0.0


# %% rewritten not_rounded
def sequential_batches(lengths, batch_frames, frame_multiple=1):
    order = sorted(range(len(lengths)), key=lambda i: -int(lengths[i]))
    plans = []
    while order:
        frames = int(lengths[order[0]])
        size = max(1, batch_frames // frames)
        plans.append(BatchPlan(frames, order[:size]))
        order = order[size:]
    return plans


def padding_share(plans, lengths):
    computed = real = 0
    for frames, indices, _ in plans:
        for index in indices:
            computed += frames
            real += int(lengths[index])
    return (computed - real) / computed if computed else 0.0


# %% mutant mean_over_batches
# The share is the mean of the batches' own shares, as if a batch of one short utterance weighed as much as a full one. What the
# machine wastes is the share of all frames.
def sequential_batches(lengths, batch_frames, frame_multiple=1):
    plans = []
    for index in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        if plans and (len(plans[-1].indices) + 1) * plans[-1].frames <= batch_frames:
            plans[-1].indices.append(index)
        else:
            plans.append(BatchPlan(round_up(int(lengths[index]), frame_multiple), [index]))
    return plans


def padding_share(plans, lengths):
    shares = []
    for plan in plans:
        real = sum(int(lengths[index]) for index in plan.indices)
        shares.append(1 - real / (plan.frames * len(plan.indices)))
    return sum(shares) / len(shares) if shares else 0.0


# %% rewritten mean_over_batches
def sequential_batches(lengths, batch_frames, frame_multiple=1):
    order = sorted(range(len(lengths)), key=lambda i: -int(lengths[i]))
    plans = []
    while order:
        frames = -(-int(lengths[order[0]]) // frame_multiple) * frame_multiple
        size = max(1, batch_frames // frames)
        plans.append(BatchPlan(frames, order[:size]))
        order = order[size:]
    return plans


def padding_share(plans, lengths):
    lengths = np.asarray(lengths)
    return float(np.mean([1 - lengths[plan.indices].mean() / plan.frames for plan in plans])) if plans else 0.0


# %% mutant against_real
# Padding is divided by the real frames instead of by all frames. That is not a share (it may exceed 1), and overstates the waste.
def sequential_batches(lengths, batch_frames, frame_multiple=1):
    plans = []
    for index in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        if plans and (len(plans[-1].indices) + 1) * plans[-1].frames <= batch_frames:
            plans[-1].indices.append(index)
        else:
            plans.append(BatchPlan(round_up(int(lengths[index]), frame_multiple), [index]))
    return plans


def padding_share(plans, lengths):
    padded = sum(plan.frames * len(plan.indices) for plan in plans)
    real = sum(int(lengths[index]) for plan in plans for index in plan.indices)
    return padded / real - 1 if real else 0.0


# %% rewritten against_real
def sequential_batches(lengths, batch_frames, frame_multiple=1):
    order = sorted(range(len(lengths)), key=lambda i: -int(lengths[i]))
    plans = []
    while order:
        frames = -(-int(lengths[order[0]]) // frame_multiple) * frame_multiple
        size = max(1, batch_frames // frames)
        plans.append(BatchPlan(frames, order[:size]))
        order = order[size:]
    return plans


def padding_share(plans, lengths):
    real = wasted = 0
    for frames, indices, _ in plans:
        for index in indices:
            real += int(lengths[index])
            wasted += frames - int(lengths[index])
    return wasted / real if real else 0.0
