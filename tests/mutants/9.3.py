# %% mutant best_of_each
# Each hypothesis keeps its own best tokens, and the candidates are taken from the first ones on. They have to compete: a
# bad hypothesis may get no child at all, and a good one several.
def expand(scores, log_probs, count):
    batch, beam, vocab = log_probs.shape
    each = max(1, -(-min(count, beam * vocab) // beam))
    best, tokens = (scores[..., None] + log_probs).topk(each, dim=2)
    parents = torch.arange(beam)[None, :, None].expand(batch, -1, each)
    flat = [x.flatten(1)[:, :count] for x in (best, parents, tokens)]
    return flat[0], flat[1], flat[2]


# %% rewritten best_of_each
def expand(scores, log_probs, count):
    batch, beam, vocab = log_probs.shape
    count = min(count, beam * vocab)
    each = max(1, (count + beam - 1) // beam)
    rows = []
    for b in range(batch):
        found = []
        for h in range(beam):
            totals = scores[b, h] + log_probs[b, h]
            order = totals.sort(descending=True, stable=True).indices[:each]
            found += [(totals[v], h, int(v)) for v in order]
        rows.append(found[:count])
    best = torch.stack([torch.stack([x[0] for x in row]) for row in rows])
    return best, torch.tensor([[x[1] for x in r] for r in rows]), torch.tensor([[x[2] for x in r] for r in rows])


# %% mutant past_forgotten
# Only the newest token's log-probability counts; that of the hypothesis so far is forgotten. A sum of logarithms is the
# probability of the whole text, and that is what hypotheses compete by.
def expand(scores, log_probs, count):
    totals = log_probs.flatten(1)
    best, index = totals.topk(min(count, totals.shape[1]), dim=1)
    return best, index // log_probs.shape[2], index % log_probs.shape[2]


# %% rewritten past_forgotten
def expand(scores, log_probs, count):
    batch, beam, vocab = log_probs.shape
    flat = log_probs.reshape(batch, beam * vocab)
    order = flat.argsort(dim=1, descending=True)[:, :count]
    return torch.take_along_dim(flat, order, 1), torch.div(order, vocab, rounding_mode="floor"), order.remainder(vocab)


# %% mutant beam_for_vocab
# The flat index is taken apart with the number of hypotheses instead of the size of the vocabulary. In a flattened
# (beam, vocab) the vocabulary is the inner axis: it is what one divides by.
def expand(scores, log_probs, count):
    totals = (scores[..., None] + log_probs).flatten(1)
    best, index = totals.topk(min(count, totals.shape[1]), dim=1)
    beam = scores.shape[1]
    return best, index % beam, index // beam


# %% rewritten beam_for_vocab
def expand(scores, log_probs, count):
    totals = (scores.unsqueeze(2) + log_probs).reshape(len(scores), -1)
    order = totals.argsort(dim=1, descending=True)[:, :count]
    tokens = torch.div(order, scores.size(1), rounding_mode="floor")
    return totals.gather(1, order), order - tokens * scores.size(1), tokens


# %% mutant utterances_compete
# The candidates of all utterances are thrown together, so that an easy utterance takes the places of a hard one. Flatten
# from the second axis on: each utterance has a beam of its own.
def expand(scores, log_probs, count):
    batch, beam, vocab = log_probs.shape
    totals = (scores[..., None] + log_probs).flatten()
    count = min(count, beam * vocab)
    best, index = totals.topk(batch * count)
    best, index = best.view(batch, count), index.view(batch, count)
    return best, index // vocab % beam, index % vocab


# %% rewritten utterances_compete
def expand(scores, log_probs, count):
    batch, beam, vocab = log_probs.shape
    count = min(count, beam * vocab)
    totals = (scores.unsqueeze(-1) + log_probs).reshape(-1)
    order = totals.argsort(descending=True)[: batch * count]
    tokens = order.remainder(vocab)
    parents = torch.div(order, vocab, rounding_mode="floor").remainder(beam)
    return tuple(x.reshape(batch, count) for x in (totals[order], parents, tokens))
