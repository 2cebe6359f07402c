# %% by_hand
def alignment_loss(log_probs, frames, batch, tokenizer):
    ctc = torch.nn.CTCLoss(blank=tokenizer.blank_id)
    return ctc(log_probs.permute(1, 0, 2), batch.targets, frames, batch.target_lengths)


def read_out(log_probs, frames, tokenizer):
    texts = []
    for row, length in zip(log_probs, frames.tolist(), strict=True):
        merged = row[:length].argmax(dim=1).unique_consecutive()
        texts.append(tokenizer.decode(merged[merged != tokenizer.blank_id].tolist()))
    return texts


# %% one_by_one
def alignment_loss(log_probs, frames, batch, tokenizer):
    losses = []
    for row, time, target, length in zip(log_probs, frames, batch.targets, batch.target_lengths, strict=True):
        alone = F.ctc_loss(row[:, None], target[None], time[None], length[None], tokenizer.blank_id, reduction="sum")
        losses.append(alone / length)
    return torch.stack(losses).mean()


def read_out(log_probs, frames, tokenizer):
    texts = []
    for row, length in zip(log_probs.argmax(2).tolist(), frames.tolist(), strict=True):
        before, said = None, []
        for token in row[:length]:
            if token not in (before, tokenizer.blank_id):
                said.append(token)
            before = token
        texts.append(tokenizer.decode(said))
    return texts
