# %% where
def row_targets(rows, sos, pad):
    before, after = rows.narrow(1, 0, rows.shape[1] - 1), rows.narrow(1, 1, rows.shape[1] - 1)
    targets = torch.where(after.eq(sos), torch.full_like(after, pad), after)
    return before, targets, torch.cumsum(before.eq(sos).long(), dim=-1)


# %% loop
def row_targets(rows, sos, pad):
    read, answers, numbers = [], [], []
    for row in rows.tolist():
        number, own = 0, []
        for token in row[:-1]:
            number += token == sos
            own.append(number)
        read.append(row[:-1])
        answers.append([pad if token == sos else token for token in row[1:]])
        numbers.append(own)
    return tuple(torch.tensor(part, device=rows.device) for part in (read, answers, numbers))
