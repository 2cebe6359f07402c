# %% mutant two_to_the_power
# Two to the power of something that is in nats. Log-probabilities to the base of e want exp; 2 belongs to bits.
def perplexity(log_prob, count):
    return 2 ** (-log_prob / count)


def word_log_probs(model, tokenizer, texts):
    encoded = [tokenizer.encode(text) for text in texts]
    rows = []
    for tokens, values in zip(encoded, token_log_probs(model, tokenizer, encoded), strict=True):
        words: list[float] = []
        for place, (token, value) in enumerate(zip(tokens, values.tolist(), strict=False)):
            if place == 0 or tokenizer.id_to_token(token).startswith(SPACE):
                words.append(0.0)
            words[-1] += value
        rows.append([*words, float(values[-1])])
    return rows


# %% rewritten two_to_the_power
def perplexity(log_prob, count):
    return math.pow(2.0, -log_prob / count)


def word_log_probs(model, tokenizer, texts):
    encoded = [tokenizer.encode(text) for text in texts]
    rows = []
    for tokens, values in zip(encoded, token_log_probs(model, tokenizer, encoded), strict=True):
        words: list[float] = []
        for place, (token, value) in enumerate(zip(tokens, values.tolist(), strict=False)):
            if place == 0 or tokenizer.id_to_token(token).startswith(SPACE):
                words.append(0.0)
            words[-1] += value
        rows.append([*words, float(values[-1])])
    return rows


# %% mutant of_the_whole
# The log-probability is not divided by the number of words. The figure grows with the length of the text, and says nothing.
def perplexity(log_prob, count):
    return math.exp(min(-log_prob, 700.0))


def word_log_probs(model, tokenizer, texts):
    encoded = [tokenizer.encode(text) for text in texts]
    rows = []
    for tokens, values in zip(encoded, token_log_probs(model, tokenizer, encoded), strict=True):
        words: list[float] = []
        for place, (token, value) in enumerate(zip(tokens, values.tolist(), strict=False)):
            if place == 0 or tokenizer.id_to_token(token).startswith(SPACE):
                words.append(0.0)
            words[-1] += value
        rows.append([*words, float(values[-1])])
    return rows


# %% rewritten of_the_whole
def perplexity(log_prob, count):
    return float(torch.tensor(-log_prob, dtype=torch.float64).clamp(max=700.0).exp())


def word_log_probs(model, tokenizer, texts):
    encoded = [tokenizer.encode(text) for text in texts]
    rows = []
    for tokens, values in zip(encoded, token_log_probs(model, tokenizer, encoded), strict=True):
        words: list[float] = []
        for place, (token, value) in enumerate(zip(tokens, values.tolist(), strict=False)):
            if place == 0 or tokenizer.id_to_token(token).startswith(SPACE):
                words.append(0.0)
            words[-1] += value
        rows.append([*words, float(values[-1])])
    return rows


# %% mutant the_end_joins_the_last_word
# The end of the sentence is added to the last word. It is an event of its own, and counts as one in the perplexity:
# otherwise a model is not asked to know where sentences end, or is asked with the wrong denominator.
def perplexity(log_prob, count):
    return math.exp(min(-log_prob / count, 700.0))


def word_log_probs(model, tokenizer, texts):
    encoded = [tokenizer.encode(text) for text in texts]
    rows = []
    for tokens, values in zip(encoded, token_log_probs(model, tokenizer, encoded), strict=True):
        words = []
        for place, (token, value) in enumerate(zip(tokens, values.tolist(), strict=False)):
            if place == 0 or tokenizer.id_to_token(token).startswith(SPACE):
                words.append(0.0)
            words[-1] += value
        words[-1] += float(values[-1])
        rows.append(words)
    return rows


# %% rewritten the_end_joins_the_last_word
def perplexity(log_prob, count):
    return math.exp(min(-log_prob / count, 700.0))


def word_log_probs(model, tokenizer, texts):
    encoded = [tokenizer.encode(text) for text in texts]
    rows = []
    for tokens, values in zip(encoded, token_log_probs(model, tokenizer, encoded)):
        begins = [i for i, token in enumerate(tokens) if i == 0 or tokenizer.id_to_token(token)[0] == SPACE]
        ends = [*begins[1:], len(values)]
        rows.append([float(values[a:b].sum()) for a, b in zip(begins, ends)])
    return rows


# %% mutant the_space_ends_a_word
# The space is added to the word before it. Then a word of letters holds a space that the same word at the end of a sentence
# does not, and a piece such as ▁CAT, which begins with the mark, is added to the wrong word altogether.
def perplexity(log_prob, count):
    return math.exp(min(-log_prob / count, 700.0))


def word_log_probs(model, tokenizer, texts):
    encoded = [tokenizer.encode(text) for text in texts]
    rows = []
    for tokens, values in zip(encoded, token_log_probs(model, tokenizer, encoded), strict=True):
        words = [0.0]
        for token, value in zip(tokens, values.tolist(), strict=False):
            words[-1] += value
            if tokenizer.id_to_token(token).startswith(SPACE):
                words.append(0.0)
        rows.append([*words, float(values[-1])])
    return rows


# %% rewritten the_space_ends_a_word
def perplexity(log_prob, count):
    return math.exp(min(-log_prob / count, 700.0))


def word_log_probs(model, tokenizer, texts):
    encoded = [tokenizer.encode(text) for text in texts]
    rows = []
    for tokens, values in zip(encoded, token_log_probs(model, tokenizer, encoded)):
        marks = [int(tokenizer.id_to_token(token)[0] == SPACE) for token in tokens]
        number = [sum(marks[:i]) for i in range(len(tokens))]
        words = [0.0] * (sum(marks) + 1)
        for i, value in enumerate(values.tolist()[:-1]):
            words[number[i]] += value
        rows.append(words + [values.tolist()[-1]])
    return rows


# %% mutant only_pieces
# Only a token with the mark begins a word. In a vocabulary of characters the first word of a sentence has none, so that its
# letters, up to the first space, are lost.
def perplexity(log_prob, count):
    return math.exp(min(-log_prob / count, 700.0))


def word_log_probs(model, tokenizer, texts):
    encoded = [tokenizer.encode(text) for text in texts]
    rows = []
    for tokens, values in zip(encoded, token_log_probs(model, tokenizer, encoded), strict=True):
        words = []
        for token, value in zip(tokens, values.tolist(), strict=False):
            if tokenizer.id_to_token(token).startswith(SPACE):
                words.append(0.0)
            if words:
                words[-1] += value
        rows.append([*words, float(values[-1])])
    return rows


# %% rewritten only_pieces
def perplexity(log_prob, count):
    return math.exp(min(-log_prob / count, 700.0))


def word_log_probs(model, tokenizer, texts):
    encoded = [tokenizer.encode(text) for text in texts]
    rows = []
    for tokens, values in zip(encoded, token_log_probs(model, tokenizer, encoded)):
        begins = [i for i, token in enumerate(tokens) if tokenizer.id_to_token(token)[0] == SPACE]
        ends = [*begins[1:], len(tokens)]
        rows.append([float(values[a:b].sum()) for a, b in zip(begins, ends)] + [float(values[-1])])
    return rows
