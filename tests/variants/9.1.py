# %% thresholds
def next_token_log_probs(logits, temperature=1.0, top_k=0, top_p=1.0):
    scaled = logits.float() / temperature
    if top_k > 0:
        least = scaled.topk(min(top_k, scaled.shape[-1]), dim=-1).values[..., -1:]
        scaled = torch.where(scaled < least, -torch.inf, scaled)
    if top_p < 1:
        probs, order = torch.softmax(scaled, dim=-1).sort(dim=-1, descending=True)
        rank = order.argsort(dim=-1)
        needed = ((probs.cumsum(dim=-1) - probs) < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        scaled = torch.where(rank < needed, scaled, -torch.inf)
    return torch.log_softmax(scaled, dim=-1)


# %% loops
def next_token_log_probs(logits, temperature=1.0, top_k=0, top_p=1.0):
    shape = logits.shape
    rows = []
    for row in logits.reshape(-1, shape[-1]).double():
        probs = torch.softmax(row / temperature, dim=0)
        order = probs.argsort(descending=True).tolist()
        if top_k:
            order = order[:top_k]
        total = float(probs[order].sum())
        kept, reached = [], 0.0
        for token in order:
            if kept and reached >= top_p:
                break
            kept.append(token)
            reached += float(probs[token]) / total
        out = torch.full_like(row, float("-inf"))
        out[kept] = (probs[kept] / probs[kept].sum()).log()
        rows.append(out.float())
    return torch.stack(rows).reshape(shape)
