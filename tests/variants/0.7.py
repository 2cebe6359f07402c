# %% merged
class MVN:
    def fit(self, utterances: Iterable[ArrayLike]) -> None:
        if self.kind == "global":
            # Mean and sum of squared deviations of all frames so far, merged with those of each utterance.
            count, mean, deviations = 0, np.zeros(len(self.mean)), np.zeros(len(self.mean))
            for index, utterance in enumerate(utterances):
                x = np.asarray(utterance, dtype=np.float64)
                _check_features(index, x, len(self.mean))
                if not len(x):
                    continue
                step = x.mean(axis=0) - mean
                total = count + len(x)
                deviations += ((x - x.mean(axis=0)) ** 2).sum(axis=0) + step**2 * count * len(x) / total
                mean = mean + step * len(x) / total
                count = total
            if count == 0:
                raise CorpusError("no frames to measure mean and variance on: the training corpus is empty")
            self.mean.copy_(torch.from_numpy(mean))
            self.inverse_std.copy_(torch.from_numpy(np.maximum(deviations / count, VARIANCE_FLOOR) ** -0.5))


# %% one_table
class MVN:
    def fit(self, utterances: Iterable[ArrayLike]) -> None:
        if self.kind != "global":
            return
        frames = torch.cat([torch.as_tensor(np.asarray(utterance)).double() for utterance in utterances])
        self.mean.copy_(frames.mean(dim=0))
        self.inverse_std.copy_(1 / frames.var(dim=0, correction=0).clamp(min=VARIANCE_FLOOR).sqrt())
