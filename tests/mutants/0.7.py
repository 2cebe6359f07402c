# %% mutant mean_of_means
# Every utterance counts the same, however long: a mean of means, and a mean of variances. Short utterances then weigh
# too much, and how far the utterances lie from each other is missing from the variance.
class MVN:
    def fit(self, utterances: Iterable[ArrayLike]) -> None:
        if self.kind != "global":
            return
        arrays = [np.asarray(utterance, dtype=np.float64) for utterance in utterances]
        mean = np.mean([array.mean(axis=0) for array in arrays], axis=0)
        variance = np.maximum(np.mean([array.var(axis=0) for array in arrays], axis=0), VARIANCE_FLOOR)
        self.mean.copy_(torch.from_numpy(mean))
        self.inverse_std.copy_(torch.from_numpy(1 / np.sqrt(variance)))


# %% rewritten mean_of_means
class MVN:
    def fit(self, utterances: Iterable[ArrayLike]) -> None:
        if self.kind != "global":
            return
        mean, variance, count = 0.0, 0.0, 0
        for utterance in utterances:
            x = torch.as_tensor(np.asarray(utterance)).double()
            mean, variance = mean + x.mean(0), variance + x.var(0, correction=0)
            count += 1
        self.mean.copy_(mean / count)
        self.inverse_std.copy_((variance / count).clamp(min=VARIANCE_FLOOR).rsqrt())


# %% mutant no_floor
# The variance has no least value. A band that is silent in the whole corpus gives a division by 0; at the first sound
# in it the features become infinite, and the loss NaN.
class MVN:
    def fit(self, utterances: Iterable[ArrayLike]) -> None:
        if self.kind != "global":
            return
        frames = np.concatenate([np.asarray(utterance, dtype=np.float64) for utterance in utterances])
        with np.errstate(divide="ignore"):
            scale = 1 / frames.std(axis=0)
        self.mean.copy_(torch.from_numpy(frames.mean(axis=0)))
        self.inverse_std.copy_(torch.from_numpy(scale))


# %% rewritten no_floor
class MVN:
    def fit(self, utterances: Iterable[ArrayLike]) -> None:
        if self.kind != "global":
            return
        count, total, squares = 0, 0.0, 0.0
        for utterance in utterances:
            x = torch.as_tensor(np.asarray(utterance)).double()
            count, total, squares = count + len(x), total + x.sum(0), squares + (x * x).sum(0)
        mean = total / count
        self.mean.copy_(mean)
        self.inverse_std.copy_((squares / count - mean**2).rsqrt())


# %% mutant std_kept
# inverse_std holds the standard deviation itself. forward multiplies by it, so that wide bins become wider still.
class MVN:
    def fit(self, utterances: Iterable[ArrayLike]) -> None:
        if self.kind != "global":
            return
        frames = np.concatenate([np.asarray(utterance, dtype=np.float64) for utterance in utterances])
        variance = np.maximum(frames.var(axis=0), VARIANCE_FLOOR)
        self.mean.copy_(torch.from_numpy(frames.mean(axis=0)))
        self.inverse_std.copy_(torch.from_numpy(np.sqrt(variance)))


# %% rewritten std_kept
class MVN:
    def fit(self, utterances: Iterable[ArrayLike]) -> None:
        if self.kind != "global":
            return
        count, total, squares = 0, 0.0, 0.0
        for utterance in utterances:
            x = torch.as_tensor(np.asarray(utterance)).double()
            count, total, squares = count + len(x), total + x.sum(0), squares + (x * x).sum(0)
        mean = total / count
        self.mean.copy_(mean)
        self.inverse_std.copy_((squares / count - mean**2).clamp(min=VARIANCE_FLOOR) ** 0.5)


# %% mutant one_number
# One mean and one variance for all mel bins together. The low bins, which are always louder, stay louder: the very
# thing that normalisation is there to take out.
class MVN:
    def fit(self, utterances: Iterable[ArrayLike]) -> None:
        if self.kind != "global":
            return
        frames = np.concatenate([np.asarray(utterance, dtype=np.float64) for utterance in utterances])
        self.mean.fill_(float(frames.mean()))
        self.inverse_std.fill_(float(1 / np.sqrt(max(frames.var(), VARIANCE_FLOOR))))


# %% rewritten one_number
class MVN:
    def fit(self, utterances: Iterable[ArrayLike]) -> None:
        if self.kind != "global":
            return
        count, total, squares = 0, 0.0, 0.0
        for utterance in utterances:
            x = torch.as_tensor(np.asarray(utterance)).double()
            count, total, squares = count + x.numel(), total + x.sum(), squares + (x * x).sum()
        mean = total / count
        self.mean.copy_(mean.expand_as(self.mean))
        self.inverse_std.copy_((squares / count - mean**2).clamp(min=VARIANCE_FLOOR).rsqrt().expand_as(self.mean))
