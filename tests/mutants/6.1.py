# %% mutant not_shifted
# Input and answer are the same tokens, so the model only has to copy what it reads: the loss falls to zero and nothing is learnt. The input
# must be one place behind the answer.
def shifted_and_golden(sequences, length, tokenizer):
    golden = pad_tokens([[*tokens, tokenizer.eos_id] for tokens in sequences], length, tokenizer.pad_id)
    return golden, golden.clone()


# %% rewritten not_shifted
def shifted_and_golden(sequences, length, tokenizer):
    rows = torch.full((len(sequences), length), tokenizer.pad_id)
    for i in range(len(sequences)):
        text = list(sequences[i])
        rows[i, : len(text)] = torch.tensor(text, dtype=torch.long)
        rows[i, len(text)] = tokenizer.eos_id
    return rows, rows


# %% mutant shifted_twice
# The answers are shifted as well as the input, so each answer is the token after the next one. Shift one of the two: with SOS in front, the
# input is already one place behind.
def shifted_and_golden(sequences, length, tokenizer):
    shifted = [[tokenizer.sos_id, *tokens] for tokens in sequences]
    golden = [[*tokens[1:], tokenizer.eos_id] for tokens in sequences]
    return pad_tokens(shifted, length, tokenizer.pad_id), pad_tokens(golden, length, tokenizer.pad_id)


# %% rewritten shifted_twice
def shifted_and_golden(sequences, length, tokenizer):
    shifted = torch.full((len(sequences), length), tokenizer.pad_id)
    golden = shifted.clone()
    for row, tokens in enumerate(sequences):
        whole = torch.tensor([tokenizer.sos_id, *tokens, tokenizer.eos_id])
        shifted[row, : len(whole) - 1] = whole[:-1]
        answer = whole[2:] if len(tokens) else whole[1:]
        golden[row, : len(answer)] = answer
    return shifted, golden


# %% mutant no_eos
# The answers do not end with EOS. A decoder that is never asked for EOS never says it, and a search that waits for it does not stop.
def shifted_and_golden(sequences, length, tokenizer):
    shifted = [[tokenizer.sos_id, *tokens] for tokens in sequences]
    return pad_tokens(shifted, length, tokenizer.pad_id), pad_tokens(sequences, length, tokenizer.pad_id)


# %% rewritten no_eos
def shifted_and_golden(sequences, length, tokenizer):
    golden = pad_tokens([list(tokens) for tokens in sequences], length, tokenizer.pad_id)
    start = torch.full((len(sequences), 1), tokenizer.sos_id)
    return torch.cat([start, golden[:, :-1]], dim=1), golden


# %% mutant no_sos
# The input does not begin with SOS. Then the first token is read where it should be answered, and the search, which has nothing but SOS to
# begin with, starts from something that the model has never seen.
def shifted_and_golden(sequences, length, tokenizer):
    golden = [[*tokens, tokenizer.eos_id] for tokens in sequences]
    return pad_tokens(sequences, length, tokenizer.pad_id), pad_tokens(golden, length, tokenizer.pad_id)


# %% rewritten no_sos
def shifted_and_golden(sequences, length, tokenizer):
    shifted = pad_tokens([list(tokens) for tokens in sequences], length, tokenizer.pad_id)
    golden = shifted.clone()
    for row, tokens in enumerate(sequences):
        golden[row, len(tokens)] = tokenizer.eos_id
    return shifted, golden


# %% mutant sides_swapped
# The two results have changed places: the model reads the answers and is asked for what came before. The input is the one with SOS.
def shifted_and_golden(sequences, length, tokenizer):
    shifted = [[*tokens, tokenizer.eos_id] for tokens in sequences]
    golden = [[tokenizer.sos_id, *tokens] for tokens in sequences]
    return pad_tokens(shifted, length, tokenizer.pad_id), pad_tokens(golden, length, tokenizer.pad_id)


# %% rewritten sides_swapped
def shifted_and_golden(sequences, length, tokenizer):
    first = torch.full((len(sequences), length), tokenizer.pad_id)
    second = first.clone()
    for row, tokens in enumerate(sequences):
        whole = torch.tensor([tokenizer.sos_id, *tokens, tokenizer.eos_id])
        first[row, : len(whole) - 1] = whole[1:]
        second[row, : len(whole) - 1] = whole[:-1]
    return first, second


# %% mutant eos_after_padding
# EOS stands in the last column, behind the padding, instead of directly after the text. Short sentences would be asked to go on through PAD,
# which no loss looks at, so they never learn where they end.
def shifted_and_golden(sequences, length, tokenizer):
    shifted = pad_tokens([[tokenizer.sos_id, *tokens] for tokens in sequences], length, tokenizer.pad_id)
    golden = pad_tokens(sequences, length, tokenizer.pad_id)
    golden[:, -1] = tokenizer.eos_id
    return shifted, golden


# %% rewritten eos_after_padding
def shifted_and_golden(sequences, length, tokenizer):
    text = pad_tokens(sequences, length - 1, tokenizer.pad_id)
    start = torch.full((len(text), 1), tokenizer.sos_id)
    end = torch.full((len(text), 1), tokenizer.eos_id)
    return torch.cat([start, text], dim=1), torch.cat([text, end], dim=1)


# %% mutant padding_in_front
# The padding stands before the text instead of behind it. A real token would then look back at PAD, and its position would depend on how
# long the other texts of the batch are.
def shifted_and_golden(sequences, length, tokenizer):
    shifted = torch.full((len(sequences), length), tokenizer.pad_id)
    golden = torch.full((len(sequences), length), tokenizer.pad_id)
    for row, tokens in enumerate(sequences):
        shifted[row, length - len(tokens) - 1 :] = torch.tensor([tokenizer.sos_id, *tokens])
        golden[row, length - len(tokens) - 1 :] = torch.tensor([*tokens, tokenizer.eos_id])
    return shifted, golden


# %% rewritten padding_in_front
def shifted_and_golden(sequences, length, tokenizer):
    def rows(ends):
        return torch.tensor([[tokenizer.pad_id] * (length - len(tokens)) + tokens for tokens in ends])

    return rows([[tokenizer.sos_id, *tokens] for tokens in sequences]), rows(
        [[*tokens, tokenizer.eos_id] for tokens in sequences]
    )


# %% mutant filled_with_zero
# The rows are filled up with 0 instead of the id of PAD. Zero is a token like any other (the blank, in our tokenizers), and the loss would
# train the model to say it.
def shifted_and_golden(sequences, length, tokenizer):
    shifted = [[tokenizer.sos_id, *tokens] for tokens in sequences]
    golden = [[*tokens, tokenizer.eos_id] for tokens in sequences]
    return pad_tokens(shifted, length, 0), pad_tokens(golden, length, 0)


# %% rewritten filled_with_zero
def shifted_and_golden(sequences, length, tokenizer):
    shifted = torch.zeros(len(sequences), length, dtype=torch.int64)
    golden = torch.zeros_like(shifted)
    for row, tokens in enumerate(sequences):
        shifted[row, 0] = tokenizer.sos_id
        for place, token in enumerate(tokens):
            shifted[row, place + 1] = golden[row, place] = token
        golden[row, len(tokens)] = tokenizer.eos_id
    return shifted, golden


# %% mutant padded_with_eos
# The answers are filled up with EOS instead of PAD. Then every position behind the end is trained on as well, and the model is rewarded
# mostly for saying EOS.
def shifted_and_golden(sequences, length, tokenizer):
    shifted = [[tokenizer.sos_id, *tokens] for tokens in sequences]
    return pad_tokens(shifted, length, tokenizer.pad_id), pad_tokens(sequences, length, tokenizer.eos_id)


# %% rewritten padded_with_eos
def shifted_and_golden(sequences, length, tokenizer):
    shifted = torch.full((len(sequences), length), tokenizer.pad_id)
    golden = torch.full((len(sequences), length), tokenizer.eos_id)
    for row, tokens in enumerate(sequences):
        text = torch.tensor(tokens, dtype=torch.long)
        shifted[row, 0] = tokenizer.sos_id
        shifted[row, 1 : len(text) + 1] = text
        golden[row, : len(text)] = text
    return shifted, golden


# %% mutant changes_the_texts
# SOS and EOS are put into the given lists themselves. The caller goes on to use those lists as CTC targets, which must hold neither.
def shifted_and_golden(sequences, length, tokenizer):
    for tokens in sequences:
        tokens.insert(0, tokenizer.sos_id)
    shifted = pad_tokens(sequences, length, tokenizer.pad_id)
    for tokens in sequences:
        tokens.pop(0)
        tokens.append(tokenizer.eos_id)
    return shifted, pad_tokens(sequences, length, tokenizer.pad_id)


# %% rewritten changes_the_texts
def shifted_and_golden(sequences, length, tokenizer):
    shifted = [[tokenizer.sos_id] + tokens for tokens in sequences]
    golden = []
    for tokens in sequences:
        tokens += [tokenizer.eos_id]
        golden.append(tokens)
    return pad_tokens(shifted, length, tokenizer.pad_id), pad_tokens(golden, length, tokenizer.pad_id)
