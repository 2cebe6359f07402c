# %% mutant rest_thrown_away
# What is left of the boundary frame is thrown away. A frame that completes a token is split: the part that was lacking belongs
# to this token, and the rest begins the next one. Without the rest weights get lost, and with them tokens.
def cif_loop(frames, alphas):
    tokens = []
    embedding = torch.zeros_like(frames[0])
    level = alphas.new_zeros((), dtype=torch.float64)
    for frame, alpha in zip(frames, alphas.double(), strict=True):
        if level + alpha >= 1:
            tokens.append(embedding + (1 - level) * frame)
            embedding = torch.zeros_like(frame)
            level = torch.zeros_like(level)
            continue
        embedding = embedding + alpha * frame
        level = level + alpha
    if level >= TAIL:
        tokens.append(embedding)
    return torch.stack(tokens) if tokens else frames.new_zeros(0, frames.shape[1])


# %% rewritten rest_thrown_away
def cif_loop(frames, alphas):
    done, now, room = [], 0 * frames[0], alphas.new_ones((), dtype=torch.float64)
    for t in range(len(frames)):
        weight = torch.minimum(alphas[t].double(), room)
        now = now + weight * frames[t]
        if alphas[t] >= room:
            done.append(now)
            now, room = 0 * frames[0], torch.ones_like(room)
        else:
            room = room - weight
    if 1 - room >= TAIL:
        done.append(now)
    return torch.stack(done) if done else frames[:0]


# %% mutant frame_not_split
# The boundary frame goes whole to the token that it completes. Such a token weighs more than 1, and the next one lacks the
# beginning that was said in this frame: split the weight, as far as 1 and beyond it.
def cif_loop(frames, alphas):
    tokens = []
    embedding = torch.zeros_like(frames[0])
    level = alphas.new_zeros((), dtype=torch.float64)
    for frame, alpha in zip(frames, alphas.double(), strict=True):
        embedding = embedding + alpha * frame
        level = level + alpha
        while level >= 1:
            tokens.append(embedding)
            embedding = torch.zeros_like(frame)
            level = level - 1
    if level >= TAIL:
        tokens.append(embedding)
    return torch.stack(tokens) if tokens else frames.new_zeros(0, frames.shape[1])


# %% rewritten frame_not_split
def cif_loop(frames, alphas):
    done, now, total = [], 0 * frames[0], alphas.new_zeros((), dtype=torch.float64)
    for t in range(len(frames)):
        now = now + alphas[t] * frames[t]
        total = total + alphas[t].double()
        for _ in range(int(total) - len(done)):
            done.append(now)
            now = 0 * frames[0]
    if total - len(done) >= TAIL:
        done.append(now)
    return torch.stack(done) if done else frames[:0]


# %% mutant no_tail
# What is left behind the last frame never becomes a token. The last token of an utterance waits for a sum of exactly 1, which it
# misses by a rounding error half of the time: from TAIL on, what is left is a token too.
def cif_loop(frames, alphas):
    tokens = []
    embedding = torch.zeros_like(frames[0])
    level = alphas.new_zeros((), dtype=torch.float64)
    for frame, alpha in zip(frames, alphas.double(), strict=True):
        while level + alpha >= 1:
            lacking = 1 - level
            tokens.append(embedding + lacking * frame)
            alpha = alpha - lacking
            embedding = torch.zeros_like(frame)
            level = torch.zeros_like(level)
        embedding = embedding + alpha * frame
        level = level + alpha
    return torch.stack(tokens) if tokens else frames.new_zeros(0, frames.shape[1])


# %% rewritten no_tail
def cif_loop(frames, alphas):
    done, now, room = [], 0 * frames[0], alphas.new_ones((), dtype=torch.float64)
    for t in range(len(frames)):
        weight = alphas[t].double()
        while weight >= room:
            done.append(now + room * frames[t])
            weight = weight - room
            now, room = 0 * frames[0], torch.ones_like(room)
        now, room = now + weight * frames[t], room - weight
    return torch.stack(done) if done else frames[:0]


# %% mutant fires_once
# A frame fires once at most. What is left after the split may be 1 or more again, and is then one more token: this takes a while
# and not an if. Otherwise the sum stays above 1, and every following frame fires, whatever its weight.
def cif_loop(frames, alphas):
    tokens = []
    embedding = torch.zeros_like(frames[0])
    level = alphas.new_zeros((), dtype=torch.float64)
    for frame, alpha in zip(frames, alphas.double(), strict=True):
        if level + alpha >= 1:
            lacking = 1 - level
            tokens.append(embedding + lacking * frame)
            alpha = alpha - lacking
            embedding = torch.zeros_like(frame)
            level = torch.zeros_like(level)
        embedding = embedding + alpha * frame
        level = level + alpha
    if level >= TAIL:
        tokens.append(embedding)
    return torch.stack(tokens) if tokens else frames.new_zeros(0, frames.shape[1])


# %% rewritten fires_once
def cif_loop(frames, alphas):
    done, now, room = [], 0 * frames[0], alphas.new_ones((), dtype=torch.float64)
    for t in range(len(frames)):
        weight = alphas[t].double()
        if weight >= room:
            done.append(now + room * frames[t])
            weight = weight - room
            now, room = 0 * frames[0], torch.ones_like(room)
        now, room = now + weight * frames[t], room - weight
    if 1 - room >= TAIL:
        done.append(now)
    return torch.stack(done) if done else frames[:0]


# %% mutant weights_cut_off
# The weights are read as plain numbers (float, item or detach), so that no gradient reaches the predictor. The tokens look right,
# and it never learns where they are: keep the weights as tensors.
def cif_loop(frames, alphas):
    alphas = alphas.detach()
    tokens = []
    embedding = torch.zeros_like(frames[0])
    level = alphas.new_zeros((), dtype=torch.float64)
    for frame, alpha in zip(frames, alphas.double(), strict=True):
        while level + alpha >= 1:
            lacking = 1 - level
            tokens.append(embedding + lacking * frame)
            alpha = alpha - lacking
            embedding = torch.zeros_like(frame)
            level = torch.zeros_like(level)
        embedding = embedding + alpha * frame
        level = level + alpha
    if level >= TAIL:
        tokens.append(embedding)
    return torch.stack(tokens) if tokens else frames.new_zeros(0, frames.shape[1])


# %% rewritten weights_cut_off
def cif_loop(frames, alphas):
    done, now, room = [], 0 * frames[0], 1.0
    for frame, weight in zip(frames, alphas.double().tolist(), strict=True):
        while weight >= room:
            done.append(now + room * frame)
            weight -= room
            now, room = 0 * frame, 1.0
        now, room = now + weight * frame, room - weight
    if 1 - room >= TAIL:
        done.append(now)
    return torch.stack(done) if done else frames[:0]
