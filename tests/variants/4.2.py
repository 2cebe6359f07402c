# %% narrow
def encodings_at(table, length, offset):
    if offset + length > table.shape[0]:
        raise ValueError(f"position {offset + length - 1} lies beyond the table")
    return table.narrow(0, offset, length)


class SinusoidalPositionalEncoding:
    def forward(self, x, offset=0):
        rows = encodings_at(self.table, x.shape[1], offset)
        return torch.add(rows.unsqueeze(0), x)


class LearnedPositionalEncoding:
    def forward(self, x, offset=0):
        rows = encodings_at(self.table, x.shape[1], offset)
        return torch.add(rows.unsqueeze(0), x)


# %% look_up_row_by_row
def encodings_at(table, length, offset):
    if offset + length > table.shape[0]:
        raise ValueError(f"position {offset + length - 1} lies beyond the table")
    positions = torch.arange(offset, offset + length, device=table.device)
    return nn.functional.embedding(positions, table)


class SinusoidalPositionalEncoding:
    def forward(self, x, offset=0):
        out = x.clone()
        for t in range(x.shape[1]):
            out[:, t] += encodings_at(self.table, 1, offset + t)[0]
        return out


class LearnedPositionalEncoding:
    def forward(self, x, offset=0):
        frames = [x[:, t] + encodings_at(self.table, 1, offset + t) for t in range(x.shape[1])]
        return torch.stack(frames, dim=1)
