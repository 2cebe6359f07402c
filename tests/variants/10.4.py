# %% spans
def perplexity(log_prob, count):
    mean = log_prob / count
    return float(torch.tensor(max(mean, -700.0), dtype=torch.float64).neg().exp())


def word_log_probs(model, tokenizer, texts):
    encoded = [tokenizer.encode(text) for text in texts]
    rows = []
    for tokens, values in zip(encoded, token_log_probs(model, tokenizer, encoded)):
        begins = [i for i, token in enumerate(tokens) if i == 0 or tokenizer.id_to_token(token)[0] == SPACE]
        ends = [*begins[1:], len(tokens)]
        rows.append([float(values[a:b].sum()) for a, b in zip(begins, ends)] + [float(values[-1])])
    return rows


# %% scatter
def perplexity(log_prob, count):
    return math.exp(min(log_prob / -count, 700.0))


def word_log_probs(model, tokenizer, texts):
    encoded = [tokenizer.encode(text) for text in texts]
    rows = []
    for tokens, values in zip(encoded, token_log_probs(model, tokenizer, encoded)):
        number, numbers = -1, []
        for token in tokens:
            if number < 0 or tokenizer.id_to_token(token).startswith(SPACE):
                number += 1
            numbers.append(number)
        sums = torch.zeros(number + 2, dtype=torch.float64)
        sums.index_add_(0, torch.tensor([*numbers, number + 1]), values.double())
        rows.append(sums.tolist())
    return rows
