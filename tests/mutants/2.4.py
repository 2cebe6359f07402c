# %% mutant prepends
# The new keys are put before the old ones. Attention itself does not mind the order, but a mask does, and what you look
# at in an attention map: the last column is no longer the newest position.
class KeyValueCache:
    def update(self, keys, values):
        if self.keys is not None:
            keys = torch.cat([keys, self.keys], dim=2)
            values = torch.cat([values, self.values], dim=2)
        self.keys, self.values = keys, values
        return keys, values

    def select(self, rows):
        if self.keys is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]


# %% rewritten prepends
class KeyValueCache:
    def select(self, rows):
        for name in ("keys", "values"):
            tensor = getattr(self, name)
            if tensor is not None:
                setattr(self, name, tensor.index_select(0, rows))

    def update(self, keys, values):
        if self.keys is None:
            self.keys, self.values = keys, values
        else:
            new = keys.shape[2]
            self.keys = torch.cat((self.keys, keys), dim=2).roll(new, dims=2)
            self.values = torch.cat((self.values, values), dim=2).roll(new, dims=2)
        return self.keys, self.values


# %% mutant forgets
# The joined keys and values are returned but not kept: the cache still holds those of the first call, so that each step sees
# the first positions and its own, and nothing in between.
class KeyValueCache:
    def update(self, keys, values):
        if self.keys is None:
            self.keys, self.values = keys, values
            return keys, values
        return torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2)

    def select(self, rows):
        if self.keys is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]


# %% rewritten forgets
class KeyValueCache:
    def update(self, keys, values):
        self.keys = keys if self.keys is None else self.keys
        self.values = values if self.values is None else self.values
        if self.keys is keys:
            return keys, values
        pairs = ((self.keys, keys), (self.values, values))
        return tuple(torch.stack([*old.unbind(2), *new.unbind(2)], dim=2) for old, new in pairs)

    def select(self, rows):
        if self.values is not None:
            self.values = self.values[rows]
            self.keys = self.keys[rows]


# %% mutant appends_heads
# The new keys are appended along the axis of the heads. Each step then has more heads, each of which still sees a single
# position.
class KeyValueCache:
    def update(self, keys, values):
        if self.keys is not None:
            keys = torch.cat([self.keys, keys], dim=1)
            values = torch.cat([self.values, values], dim=1)
        self.keys, self.values = keys, values
        return keys, values

    def select(self, rows):
        if self.keys is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]


# %% rewritten appends_heads
class KeyValueCache:
    def update(self, keys, values):
        joined = []
        for old, new in ((self.keys, keys), (self.values, values)):
            joined.append(new if old is None else torch.hstack((old, new)))
        self.keys, self.values = joined
        return self.keys, self.values

    def select(self, rows):
        if self.keys is not None:
            self.keys = torch.stack([self.keys[row] for row in rows])
            self.values = torch.stack([self.values[row] for row in rows])


# %% mutant selects_as_a_set
# The rows asked for are taken as a set: each is kept once, in the old order. A search that continues one hypothesis in two
# ways needs its row twice, and the order decides which keys belong to which hypothesis.
class KeyValueCache:
    def update(self, keys, values):
        if self.keys is not None:
            keys = torch.cat([self.keys, keys], dim=2)
            values = torch.cat([self.values, values], dim=2)
        self.keys, self.values = keys, values
        return keys, values

    def select(self, rows):
        if self.keys is not None:
            keep = torch.zeros(self.keys.shape[0], dtype=torch.bool)
            keep[rows] = True
            self.keys, self.values = self.keys[keep], self.values[keep]


# %% rewritten selects_as_a_set
class KeyValueCache:
    def select(self, rows):
        if self.values is None:
            return
        kept = sorted(set(rows.tolist()))
        self.values = torch.stack([self.values[row] for row in kept])
        self.keys = torch.stack([self.keys[row] for row in kept])

    def update(self, keys, values):
        self.keys = keys if self.keys is None else torch.cat((self.keys, keys), dim=-2)
        self.values = values if self.values is None else torch.cat((self.values, values), dim=-2)
        return self.keys, self.values


# %% mutant selects_keys_only
# Only the keys are reordered; the values stay those of the old rows. Each hypothesis then finds the right place and reads what
# another one has written there.
class KeyValueCache:
    def update(self, keys, values):
        if self.keys is not None:
            keys = torch.cat([self.keys, keys], dim=2)
            values = torch.cat([self.values, values], dim=2)
        self.keys, self.values = keys, values
        return keys, values

    def select(self, rows):
        if self.keys is not None:
            self.keys = self.keys[rows]


# %% rewritten selects_keys_only
class KeyValueCache:
    def select(self, rows):
        if self.keys is None:
            return
        self.keys = torch.cat([self.keys[row : row + 1] for row in rows.tolist()])

    def update(self, keys, values):
        self.keys = keys if self.keys is None else torch.cat((self.keys, keys), dim=-2)
        self.values = values if self.values is None else torch.cat((self.values, values), dim=-2)
        return self.keys, self.values
