# %% pad_each_and_stack
def pad_features(features, time):
    rows = [torch.nn.functional.pad(utterance, (0, 0, 0, time - utterance.shape[0])) for utterance in features]
    return torch.stack(rows)


def pad_tokens(sequences, length, pad):
    rows = [[*tokens, *[pad] * (length - len(tokens))] for tokens in sequences]
    return torch.tensor(rows, dtype=torch.int64)


# %% pad_sequence
def pad_features(features, time):
    longest = torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True)
    more = longest.new_zeros(longest.shape[0], time - longest.shape[1], longest.shape[2])
    return torch.cat([longest, more], dim=1)


def pad_tokens(sequences, length, pad):
    padded = torch.empty(len(sequences), length, dtype=torch.long)
    for row, tokens in enumerate(sequences):
        for position in range(length):
            padded[row, position] = tokens[position] if position < len(tokens) else pad
    return padded
