# %% unravelled
def expand(scores, log_probs, count):
    batch, beam, vocab = log_probs.shape
    totals = scores.unsqueeze(-1).add(log_probs).reshape(batch, beam * vocab)
    values, places = torch.topk(totals, k=min(count, beam * vocab), dim=-1, sorted=True)
    parents = torch.div(places, vocab, rounding_mode="floor")
    return values, parents, places - parents * vocab


# %% sorted_lists
def expand(scores, log_probs, count):
    batch, beam, vocab = log_probs.shape
    values, parents, tokens = [], [], []
    for b in range(batch):
        found = [(float(scores[b, h] + log_probs[b, h, v]), h, v) for h in range(beam) for v in range(vocab)]
        found.sort(key=lambda candidate: -candidate[0])
        found = found[:count]
        values.append([candidate[0] for candidate in found])
        parents.append([candidate[1] for candidate in found])
        tokens.append([candidate[2] for candidate in found])
    return torch.tensor(values), torch.tensor(parents), torch.tensor(tokens)
