# %% mutant offset_ignored
# The offset is not used: the rows always start at position 0. With whole sequences nothing shows. In step-by-step decoding
# each new token believes that it is the first one.
def encodings_at(table, length, offset):
    if offset + length > table.shape[0]:
        raise ValueError(f"position {offset + length - 1} lies beyond the table")
    return table[:length]


class SinusoidalPositionalEncoding:
    def forward(self, x, offset=0):
        return x + encodings_at(self.table, x.shape[1], offset)


class LearnedPositionalEncoding:
    def forward(self, x, offset=0):
        return x + encodings_at(self.table, x.shape[1], offset)


# %% rewritten offset_ignored
def encodings_at(table, length, offset):
    if offset + length > table.shape[0]:
        raise ValueError(f"position {offset + length - 1} lies beyond the table")
    return torch.stack([table[t] for t in range(length)])


class SinusoidalPositionalEncoding:
    def forward(self, x, offset=0):
        length = x.size(-2)
        rows = encodings_at(self.table, length, offset)
        return rows.unsqueeze(0).add(x)


class LearnedPositionalEncoding:
    def forward(self, x, offset=0):
        length = x.size(-2)
        rows = encodings_at(self.table, length, offset)
        return rows.unsqueeze(0).add(x)


# %% mutant ends_at_length
# The slice ends at `length` instead of at `offset + length`. That is right for offset 0 only; later in the sequence rows
# are missing.
def encodings_at(table, length, offset):
    if offset + length > table.shape[0]:
        raise ValueError(f"position {offset + length - 1} lies beyond the table")
    return table[offset:length]


class SinusoidalPositionalEncoding:
    def forward(self, x, offset=0):
        return x + encodings_at(self.table, x.shape[1], offset)


class LearnedPositionalEncoding:
    def forward(self, x, offset=0):
        return x + encodings_at(self.table, x.shape[1], offset)


# %% rewritten ends_at_length
def encodings_at(table, length, offset):
    if offset + length > table.shape[0]:
        raise ValueError(f"position {offset + length - 1} lies beyond the table")
    keep = torch.arange(table.shape[0])
    return table[(keep >= offset) & (keep < length)]


class SinusoidalPositionalEncoding:
    def forward(self, x, offset=0):
        length = x.size(-2)
        rows = encodings_at(self.table, length, offset)
        return rows.unsqueeze(0).add(x)


class LearnedPositionalEncoding:
    def forward(self, x, offset=0):
        length = x.size(-2)
        rows = encodings_at(self.table, length, offset)
        return rows.unsqueeze(0).add(x)


# %% mutant replaces
# The output is the encoding alone: the input x is lost. Every utterance would look the same to the layers above, for all
# that is left is the position.
def encodings_at(table, length, offset):
    if offset + length > table.shape[0]:
        raise ValueError(f"position {offset + length - 1} lies beyond the table")
    return table[offset : offset + length]


class SinusoidalPositionalEncoding:
    def forward(self, x, offset=0):
        return encodings_at(self.table, x.shape[1], offset).expand_as(x)


class LearnedPositionalEncoding:
    def forward(self, x, offset=0):
        return encodings_at(self.table, x.shape[1], offset).expand_as(x)


# %% rewritten replaces
def encodings_at(table, length, offset):
    if offset + length > table.shape[0]:
        raise ValueError(f"position {offset + length - 1} lies beyond the table")
    return table[offset : offset + length]


class SinusoidalPositionalEncoding:
    def forward(self, x, offset=0):
        rows = encodings_at(self.table, x.shape[1], offset)
        return torch.stack([rows for _ in range(x.shape[0])])


class LearnedPositionalEncoding:
    def forward(self, x, offset=0):
        rows = encodings_at(self.table, x.shape[1], offset)
        return torch.stack([rows for _ in range(x.shape[0])])


# %% mutant batch_as_length
# The number of positions is taken from the batch axis. x is (batch, length, d_model): with a batch of one, a single row
# is broadcast over the whole sequence, and no error tells you.
def encodings_at(table, length, offset):
    if offset + length > table.shape[0]:
        raise ValueError(f"position {offset + length - 1} lies beyond the table")
    return table[offset : offset + length]


class SinusoidalPositionalEncoding:
    def forward(self, x, offset=0):
        return x + encodings_at(self.table, x.shape[0], offset)


class LearnedPositionalEncoding:
    def forward(self, x, offset=0):
        return x + encodings_at(self.table, x.shape[0], offset)


# %% rewritten batch_as_length
def encodings_at(table, length, offset):
    if offset + length > table.shape[0]:
        raise ValueError(f"position {offset + length - 1} lies beyond the table")
    return table[offset : offset + length]


class SinusoidalPositionalEncoding:
    def forward(self, x, offset=0):
        batch, _, _ = x.shape
        return encodings_at(self.table, batch, offset) + x


class LearnedPositionalEncoding:
    def forward(self, x, offset=0):
        batch, _, _ = x.shape
        return encodings_at(self.table, batch, offset) + x


# %% mutant clamped
# Positions beyond the table get its last row. Nothing fails, but all late frames claim to be at the same place. The guard
# is there so that too long an input is noticed.
def encodings_at(table, length, offset):
    positions = torch.arange(offset, offset + length).clamp(max=table.shape[0] - 1)
    return table[positions]


class SinusoidalPositionalEncoding:
    def forward(self, x, offset=0):
        return x + encodings_at(self.table, x.shape[1], offset)


class LearnedPositionalEncoding:
    def forward(self, x, offset=0):
        return x + encodings_at(self.table, x.shape[1], offset)


# %% rewritten clamped
def encodings_at(table, length, offset):
    last = len(table) - 1
    return torch.stack([table[min(offset + step, last)] for step in range(length)])


class SinusoidalPositionalEncoding:
    def forward(self, x, offset=0):
        length = x.size(-2)
        rows = encodings_at(self.table, length, offset)
        return rows.unsqueeze(0).add(x)


class LearnedPositionalEncoding:
    def forward(self, x, offset=0):
        length = x.size(-2)
        rows = encodings_at(self.table, length, offset)
        return rows.unsqueeze(0).add(x)


# %% mutant detached
# The learned table is cut out of the graph, so it receives no gradient: it keeps its random start and never learns.
# Only the sinusoidal table is a constant.
def encodings_at(table, length, offset):
    if offset + length > table.shape[0]:
        raise ValueError(f"position {offset + length - 1} lies beyond the table")
    return table[offset : offset + length]


class SinusoidalPositionalEncoding:
    def forward(self, x, offset=0):
        return x + encodings_at(self.table, x.shape[1], offset)


class LearnedPositionalEncoding:
    def forward(self, x, offset=0):
        return x + encodings_at(self.table.data, x.shape[1], offset)


# %% rewritten detached
def encodings_at(table, length, offset):
    if offset + length > table.shape[0]:
        raise ValueError(f"position {offset + length - 1} lies beyond the table")
    return table[offset : offset + length]


class SinusoidalPositionalEncoding:
    def forward(self, x, offset=0):
        length = x.size(-2)
        rows = encodings_at(self.table, length, offset)
        return rows.unsqueeze(0).add(x)


class LearnedPositionalEncoding:
    def forward(self, x, offset=0):
        with torch.no_grad():
            rows = encodings_at(self.table, x.size(1), offset)
        return rows[None] + x
