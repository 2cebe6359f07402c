# %% norms_by_hand
class Stepper:
    def step(self, batches, step):
        self.seed(step)
        self.schedule.apply(self.optimizer, step)
        self.model.spec_augment.strength = ramp(step, self.ramp[0], self.ramp[1])
        self.model.train(True)
        counts = Sizes.of(batches, self.ranks)
        sums = [float(value) for value in self.accumulate(batches, counts)]
        norm, applied = self.update(step)
        by = (1, counts.ctc_tokens, counts.attention_tokens, counts.attention_tokens)
        loss, ctc, attention, accuracy = (value / size for value, size in zip(sums, by, strict=True))
        return StepResult(
            loss=loss, ctc=ctc, attention=attention, grad_norm=norm, token_accuracy=accuracy, applied=applied
        )

    def update(self, step):
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        self.scaler.unscale_(self.optimizer)
        norm = torch.stack([parameter.grad.norm() for parameter in parameters]).norm()
        limit = self.config.optimizer.clip
        if limit and float(norm) > limit:
            for parameter in parameters:
                parameter.grad.mul_(limit / (norm + 1e-6))
        applied = math.isfinite(float(norm))
        if applied or self.precision == "fp16":
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.model.zero_grad()
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        return float(norm), applied
