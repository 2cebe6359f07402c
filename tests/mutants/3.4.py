# %% mutant front
# The padding stands in front of the utterances. Everything that counts from the start (lengths, masks, positions) then points
# at padding and cuts off the end of the speech.
def pad_features(features, time):
    padded = features[0].new_zeros(len(features), time, features[0].shape[1])
    for row, utterance in enumerate(features):
        padded[row, time - len(utterance) :] = utterance
    return padded


def pad_tokens(sequences, length, pad):
    padded = torch.full((len(sequences), length), pad)
    for row, tokens in enumerate(sequences):
        padded[row, length - len(tokens) :] = torch.tensor(tokens, dtype=torch.long)
    return padded


# %% rewritten front
def pad_features(features, time):
    return torch.stack([torch.nn.functional.pad(x, (0, 0, time - len(x), 0)) for x in features])


def pad_tokens(sequences, length, pad):
    return torch.tensor([[pad] * (length - len(tokens)) + list(tokens) for tokens in sequences])


# %% mutant pad_is_zero
# Tokens are filled up with 0 whatever `pad` says. 0 is then a real token (or the blank): the loss cannot tell it from
# padding and trains on it.
def pad_features(features, time):
    padded = features[0].new_zeros(len(features), time, features[0].shape[1])
    for row, utterance in enumerate(features):
        padded[row, : len(utterance)] = utterance
    return padded


def pad_tokens(sequences, length, pad):
    padded = torch.zeros(len(sequences), length, dtype=torch.long)
    for row, tokens in enumerate(sequences):
        padded[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
    return padded


# %% rewritten pad_is_zero
def pad_features(features, time):
    return torch.stack([torch.nn.functional.pad(x, (0, 0, 0, time - len(x))) for x in features])


def pad_tokens(sequences, length, pad):
    return torch.tensor([list(tokens) + [0] * (length - len(tokens)) for tokens in sequences])


# %% mutant own_longest
# The axis is as long as the longest sequence at hand, not as long as asked for. With frame_multiple every batch should have
# one of a few lengths; here each has its own, and `tokens_in`, `tokens_out` and `targets` no longer fit together.
def pad_features(features, time):
    return torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True)


def pad_tokens(sequences, length, pad):
    rows = [torch.tensor(tokens, dtype=torch.long) for tokens in sequences]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)


# %% rewritten own_longest
def pad_features(features, time):
    longest = max(len(utterance) for utterance in features)
    padded = torch.zeros(len(features), longest, features[0].shape[1])
    for row, utterance in enumerate(features):
        padded[row, : len(utterance)] = utterance
    return padded


def pad_tokens(sequences, length, pad):
    longest = max(map(len, sequences))
    return torch.tensor([list(tokens) + [pad] * (longest - len(tokens)) for tokens in sequences])


# %% mutant float_tokens
# The tokens come out as floats. They are row numbers of an embedding table, and nn.Embedding refuses anything but whole
# numbers.
def pad_features(features, time):
    padded = features[0].new_zeros(len(features), time, features[0].shape[1])
    for row, utterance in enumerate(features):
        padded[row, : len(utterance)] = utterance
    return padded


def pad_tokens(sequences, length, pad):
    padded = torch.ones(len(sequences), length) * pad
    for row, tokens in enumerate(sequences):
        padded[row, : len(tokens)] = torch.tensor(tokens)
    return padded


# %% rewritten float_tokens
def pad_features(features, time):
    return torch.stack([torch.nn.functional.pad(x, (0, 0, 0, time - len(x))) for x in features])


def pad_tokens(sequences, length, pad):
    return torch.Tensor([list(tokens) + [pad] * (length - len(tokens)) for tokens in sequences])


# %% mutant last_frame_repeated
# The rest of a row repeats the last frame instead of being zero. Later modules rely on zeros behind the end: a convolution would
# hear the last sound go on, and the same utterance would sound different in a longer batch.
def pad_features(features, time):
    rows = []
    for utterance in features:
        last = utterance[-1:].expand(time - len(utterance), -1)
        rows.append(torch.cat([utterance, last]))
    return torch.stack(rows)


def pad_tokens(sequences, length, pad):
    padded = torch.full((len(sequences), length), pad)
    for row, tokens in enumerate(sequences):
        padded[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
    return padded


# %% rewritten last_frame_repeated
def pad_features(features, time):
    padded = features[0].new_zeros(len(features), time, features[0].shape[1])
    for row, utterance in enumerate(features):
        for position in range(time):
            padded[row, position] = utterance[min(position, len(utterance) - 1)]
    return padded


def pad_tokens(sequences, length, pad):
    return torch.tensor([list(tokens) + [pad] * (length - len(tokens)) for tokens in sequences])
