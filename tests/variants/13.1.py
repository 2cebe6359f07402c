# %% room_left
def cif_loop(frames, alphas):
    done, current = [], 0 * frames[0]
    room = torch.ones((), dtype=torch.float64, device=alphas.device)
    for t in range(len(alphas)):
        weight = alphas[t].double()
        while weight >= room:
            done.append(current + room * frames[t])
            weight = weight - room
            current, room = 0 * frames[t], torch.ones_like(room)
        current = current + weight * frames[t]
        room = room - weight
    if 1 - room >= TAIL:
        done.append(current)
    return torch.stack(done) if done else frames[:0]


# %% token_by_token
def cif_loop(frames, alphas):
    ends = alphas.double().cumsum(0)
    starts = ends - alphas.double()
    total = float(ends[-1])
    number = int(total) + (total - int(total) >= TAIL)
    tokens = []
    for u in range(number):
        share = (ends.clamp(max=u + 1.0) - starts.clamp(min=float(u))).clamp(min=0)
        tokens.append(share.to(frames.dtype) @ frames)
    return torch.stack(tokens) if tokens else frames[:0]


# %% list_of_pieces
def cif_loop(frames, alphas):
    pieces, level = [[]], 0.0
    for number, alpha in enumerate(alphas.double()):
        while level + alpha > 1:
            pieces[-1].append((number, 1 - level))
            alpha = alpha - (1 - level)
            pieces.append([])
            level = 0.0
        pieces[-1].append((number, alpha))
        level = level + alpha
    if level < TAIL:
        pieces.pop()
    tokens = [sum(weight * frames[number] for number, weight in piece) for piece in pieces]
    return torch.stack(tokens) if tokens else frames.new_zeros((0, frames.shape[1]))
