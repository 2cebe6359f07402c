# %% slices
def sequential_batches(lengths, batch_frames, frame_multiple=1):
    order = sorted(range(len(lengths)), key=lambda index: int(lengths[index]), reverse=True)
    plans = []
    while order:
        blocks = (int(lengths[order[0]]) + frame_multiple - 1) // frame_multiple
        frames = blocks * frame_multiple
        size = max(1, batch_frames // frames)
        plans.append(BatchPlan(frames, order[:size]))
        del order[:size]
    return plans


def padding_share(plans, lengths):
    computed = real = 0
    for frames, indices, _ in plans:
        computed += frames * len(indices)
        real += sum(int(lengths[index]) for index in indices)
    return (computed - real) / computed if computed else 0.0
