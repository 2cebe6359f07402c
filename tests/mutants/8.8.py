# %% mutant left_overs_dropped
# What does not fill a batch is dropped. In each epoch a part of the data is never seen, and with small corpora it is not a small part.
def bucket_batches(lengths, batch_frames, frame_multiple, rng):
    order = rng.permutation(len(lengths))
    buckets = -(-lengths[order] // frame_multiple)
    plans, left_over, longest = [], order[:0], buckets.max(initial=0)
    for bucket in np.unique(buckets):
        frames = int(bucket) * frame_multiple
        size = max(1, batch_frames // frames)
        members = np.concatenate([left_over, order[buckets == bucket]])
        count = len(members) % size if bucket < longest else 0
        by_length = members[np.argsort(lengths[members], kind="stable")]

        stay = rng.permutation(by_length[: len(by_length) - count])
        plans += [BatchPlan(frames, stay[start : start + size].tolist()) for start in range(0, len(stay), size)]
    return [plans[i] for i in rng.permutation(len(plans))]


# %% rewritten left_overs_dropped
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
            members = members[:whole]
        members = [members[place] for place in rng.permutation(len(members))]
        for start in range(0, len(members), size):
            plans.append(BatchPlan(frames, members[start : start + size]))
    return [plans[place] for place in rng.permutation(len(plans))]


# %% mutant left_overs_stay
# What does not fill a batch stays in its bucket, as a small batch: many steps with few utterances, and a shape of its own for each.
def bucket_batches(lengths, batch_frames, frame_multiple, rng):
    order = rng.permutation(len(lengths))
    buckets = -(-lengths[order] // frame_multiple)
    plans, left_over, longest = [], order[:0], buckets.max(initial=0)
    for bucket in np.unique(buckets):
        frames = int(bucket) * frame_multiple
        size = max(1, batch_frames // frames)
        members = np.concatenate([left_over, order[buckets == bucket]])
        count = 0
        by_length = members[np.argsort(lengths[members], kind="stable")]
        left_over = by_length[len(by_length) - count :]
        stay = rng.permutation(by_length[: len(by_length) - count])
        plans += [BatchPlan(frames, stay[start : start + size].tolist()) for start in range(0, len(stay), size)]
    return [plans[i] for i in rng.permutation(len(plans))]


# %% rewritten left_overs_stay
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
        members = [members[place] for place in rng.permutation(len(members))]
        for start in range(0, len(members), size):
            plans.append(BatchPlan(frames, members[start : start + size]))
    return [plans[place] for place in rng.permutation(len(plans))]


# %% mutant rounded_down
# Buckets are rounded down: the padded length is below that of utterances in the bucket, and a batch becomes larger than it was planned.
def bucket_batches(lengths, batch_frames, frame_multiple, rng):
    order = rng.permutation(len(lengths))
    buckets = np.maximum(lengths[order] // frame_multiple, 1)
    plans, left_over, longest = [], order[:0], buckets.max(initial=0)
    for bucket in np.unique(buckets):
        frames = int(bucket) * frame_multiple
        size = max(1, batch_frames // frames)
        members = np.concatenate([left_over, order[buckets == bucket]])
        count = len(members) % size if bucket < longest else 0
        by_length = members[np.argsort(lengths[members], kind="stable")]
        left_over = by_length[len(by_length) - count :]
        stay = rng.permutation(by_length[: len(by_length) - count])
        plans += [BatchPlan(frames, stay[start : start + size].tolist()) for start in range(0, len(stay), size)]
    return [plans[i] for i in rng.permutation(len(plans))]


# %% rewritten rounded_down
def bucket_batches(lengths, batch_frames, frame_multiple, rng):
    rooms = {}
    for index, length in enumerate(np.asarray(lengths).tolist()):
        rooms.setdefault(max(length // frame_multiple, 1), []).append(index)
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


# %% mutant as_many_in_each
# All batches have as many utterances as the longest bucket can hold. Batches of short ones leave most of the memory empty: more steps for
# the same data.
def bucket_batches(lengths, batch_frames, frame_multiple, rng):
    order = rng.permutation(len(lengths))
    buckets = -(-lengths[order] // frame_multiple)
    plans, left_over, longest = [], order[:0], buckets.max(initial=0)
    for bucket in np.unique(buckets):
        frames = int(bucket) * frame_multiple
        size = max(1, batch_frames // (int(longest) * frame_multiple))
        members = np.concatenate([left_over, order[buckets == bucket]])
        count = len(members) % size if bucket < longest else 0
        by_length = members[np.argsort(lengths[members], kind="stable")]
        left_over = by_length[len(by_length) - count :]
        stay = rng.permutation(by_length[: len(by_length) - count])
        plans += [BatchPlan(frames, stay[start : start + size].tolist()) for start in range(0, len(stay), size)]
    return [plans[i] for i in rng.permutation(len(plans))]


# %% rewritten as_many_in_each
def bucket_batches(lengths, batch_frames, frame_multiple, rng):
    rooms = {}
    for index, length in enumerate(np.asarray(lengths).tolist()):
        rooms.setdefault((length + frame_multiple - 1) // frame_multiple, []).append(index)
    plans, waiting = [], []
    for number in sorted(rooms):
        frames = number * frame_multiple
        size = max(batch_frames // (max(rooms) * frame_multiple), 1)
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


# %% mutant short_ones_first
# The batches come from short to long, in every epoch. The model sees short sentences first and long ones last, and forgets one for the
# other.
def bucket_batches(lengths, batch_frames, frame_multiple, rng):
    order = rng.permutation(len(lengths))
    buckets = -(-lengths[order] // frame_multiple)
    plans, left_over, longest = [], order[:0], buckets.max(initial=0)
    for bucket in np.unique(buckets):
        frames = int(bucket) * frame_multiple
        size = max(1, batch_frames // frames)
        members = np.concatenate([left_over, order[buckets == bucket]])
        count = len(members) % size if bucket < longest else 0
        by_length = members[np.argsort(lengths[members], kind="stable")]
        left_over = by_length[len(by_length) - count :]
        stay = rng.permutation(by_length[: len(by_length) - count])
        plans += [BatchPlan(frames, stay[start : start + size].tolist()) for start in range(0, len(stay), size)]
    return plans


# %% rewritten short_ones_first
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
    return plans


# %% mutant limit_exceeded
# A batch is filled beyond batch_frames, by one utterance: rounding the number up breaks the promise that the memory depends on.
def bucket_batches(lengths, batch_frames, frame_multiple, rng):
    order = rng.permutation(len(lengths))
    buckets = -(-lengths[order] // frame_multiple)
    plans, left_over, longest = [], order[:0], buckets.max(initial=0)
    for bucket in np.unique(buckets):
        frames = int(bucket) * frame_multiple
        size = -(-batch_frames // frames)
        members = np.concatenate([left_over, order[buckets == bucket]])
        count = len(members) % size if bucket < longest else 0
        by_length = members[np.argsort(lengths[members], kind="stable")]
        left_over = by_length[len(by_length) - count :]
        stay = rng.permutation(by_length[: len(by_length) - count])
        plans += [BatchPlan(frames, stay[start : start + size].tolist()) for start in range(0, len(stay), size)]
    return [plans[i] for i in rng.permutation(len(plans))]


# %% rewritten limit_exceeded
def bucket_batches(lengths, batch_frames, frame_multiple, rng):
    rooms = {}
    for index, length in enumerate(np.asarray(lengths).tolist()):
        rooms.setdefault((length + frame_multiple - 1) // frame_multiple, []).append(index)
    plans, waiting = [], []
    for number in sorted(rooms):
        frames = number * frame_multiple
        size = (batch_frames + frames - 1) // frames
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


# %% mutant short_ones_move
# Of a bucket's utterances the shortest move up. In the next bucket they are padded by a whole width more; the longest would need
# the least.
def bucket_batches(lengths, batch_frames, frame_multiple, rng):
    order = rng.permutation(len(lengths))
    buckets = -(-lengths[order] // frame_multiple)
    plans, left_over, longest = [], order[:0], buckets.max(initial=0)
    for bucket in np.unique(buckets):
        frames = int(bucket) * frame_multiple
        size = max(1, batch_frames // frames)
        members = np.concatenate([left_over, order[buckets == bucket]])
        count = len(members) % size if bucket < longest else 0
        by_length = members[np.argsort(lengths[members], kind="stable")]
        left_over = by_length[:count]
        stay = rng.permutation(by_length[count:])
        plans += [BatchPlan(frames, stay[start : start + size].tolist()) for start in range(0, len(stay), size)]
    return [plans[i] for i in rng.permutation(len(plans))]


# %% rewritten short_ones_move
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
            members.sort(key=lambda index: lengths[index], reverse=True)
            whole = len(members) - len(members) % size
            members, waiting = members[:whole], members[whole:]
        members = [members[place] for place in rng.permutation(len(members))]
        for start in range(0, len(members), size):
            plans.append(BatchPlan(frames, members[start : start + size]))
    return [plans[place] for place in rng.permutation(len(plans))]
