# %% dictionary
def bucket_batches(lengths, batch_frames, frame_multiple, rng):
    rooms = {}
    for index, length in enumerate(np.asarray(lengths).tolist()):
        rooms.setdefault((length + frame_multiple - 1) // frame_multiple, []).append(index)
    plans, waiting = [], []
    for number in sorted(rooms):
        frames = number * frame_multiple
        size = max(batch_frames // frames, 1)
        members = waiting + rooms[number]
        waiting = []
        if number < max(rooms):
            members.sort(key=lambda index: lengths[index])
            whole = len(members) - len(members) % size
            members, waiting = members[:whole], members[whole:]
        members = [members[place] for place in rng.permutation(len(members))]
        for start in range(0, len(members), size):
            plans.append(BatchPlan(frames, members[start : start + size]))
    return [plans[place] for place in rng.permutation(len(plans))]
