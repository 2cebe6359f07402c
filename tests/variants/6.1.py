# %% one_row_at_a_time
def shifted_and_golden(sequences, length, tokenizer):
    shifted = torch.full((len(sequences), length), tokenizer.pad_id, dtype=torch.int64)
    golden = shifted.clone()
    for row, tokens in enumerate(sequences):
        whole = torch.tensor([tokenizer.sos_id, *tokens, tokenizer.eos_id])  # both sides are parts of one sequence
        shifted[row, : len(whole) - 1] = whole[:-1]
        golden[row, : len(whole) - 1] = whole[1:]
    return shifted, golden


# %% whole_batch
def shifted_and_golden(sequences, length, tokenizer):
    text = pad_tokens(sequences, length, tokenizer.pad_id)
    ends = torch.tensor([len(tokens) for tokens in sequences])
    golden = torch.where(torch.arange(length) == ends[:, None], tokenizer.eos_id, text)
    shifted = text.roll(1, dims=1)
    shifted[:, 0] = tokenizer.sos_id
    return shifted, golden
