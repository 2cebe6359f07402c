# %% mutant gradients_kept
# The gradients are not set to zero after the update: those of the next step are added to them, and each step repeats all the earlier
# ones.
class Stepper:
    def step(self, batches, step):
        self.seed(step)
        self.schedule.apply(self.optimizer, step)
        self.model.spec_augment.strength = ramp(step, *self.ramp)
        self.model.train()
        sizes = Sizes.of(batches, self.ranks)
        sums = self.accumulate(batches, sizes)
        norm, applied = self.update(step)
        loss, ctc, attention, correct = sums.tolist()
        tokens = sizes.attention_tokens
        return StepResult(loss, ctc / sizes.ctc_tokens, attention / tokens, norm, correct / tokens, applied)

    def update(self, step):
        self.scaler.unscale_(self.optimizer)
        limit = self.config.optimizer.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        applied = bool(torch.isfinite(norm))
        if applied or self.precision == "fp16":
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        return float(norm), applied


# %% rewritten gradients_kept
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
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        return float(norm), applied


# %% mutant clipped_too_late
# The gradients are clipped after the optimiser has used them: clipping has no effect, and the next long gradient throws the
# weights about.
class Stepper:
    def step(self, batches, step):
        self.seed(step)
        self.schedule.apply(self.optimizer, step)
        self.model.spec_augment.strength = ramp(step, *self.ramp)
        self.model.train()
        sizes = Sizes.of(batches, self.ranks)
        sums = self.accumulate(batches, sizes)
        norm, applied = self.update(step)
        loss, ctc, attention, correct = sums.tolist()
        tokens = sizes.attention_tokens
        return StepResult(loss, ctc / sizes.ctc_tokens, attention / tokens, norm, correct / tokens, applied)

    def update(self, step):
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), math.inf)
        applied = bool(torch.isfinite(norm))
        if applied or self.precision == "fp16":
            self.scaler.step(self.optimizer)
            self.scaler.update()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.clip or math.inf)
        self.optimizer.zero_grad(set_to_none=True)
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        return float(norm), applied


# %% rewritten clipped_too_late
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
        applied = math.isfinite(float(norm))
        if applied or self.precision == "fp16":
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if limit and float(norm) > limit:
            for parameter in parameters:
                parameter.grad.mul_(limit / (norm + 1e-6))
        self.model.zero_grad()
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        return float(norm), applied


# %% mutant still_scaled
# The gradients are clipped while they are still multiplied by the scaler's factor. With fp16 they are then a thousand times too large,
# and are all clipped to next to nothing.
class Stepper:
    def step(self, batches, step):
        self.seed(step)
        self.schedule.apply(self.optimizer, step)
        self.model.spec_augment.strength = ramp(step, *self.ramp)
        self.model.train()
        sizes = Sizes.of(batches, self.ranks)
        sums = self.accumulate(batches, sizes)
        norm, applied = self.update(step)
        loss, ctc, attention, correct = sums.tolist()
        tokens = sizes.attention_tokens
        return StepResult(loss, ctc / sizes.ctc_tokens, attention / tokens, norm, correct / tokens, applied)

    def update(self, step):
        limit = self.config.optimizer.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        applied = bool(torch.isfinite(norm))
        if applied or self.precision == "fp16":
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        return float(norm), applied


# %% rewritten still_scaled
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


# %% mutant not_finite_applied
# A gradient that is not finite is applied. One NaN in it, and clipping makes NaN of all gradients, the optimiser of all weights.
class Stepper:
    def step(self, batches, step):
        self.seed(step)
        self.schedule.apply(self.optimizer, step)
        self.model.spec_augment.strength = ramp(step, *self.ramp)
        self.model.train()
        sizes = Sizes.of(batches, self.ranks)
        sums = self.accumulate(batches, sizes)
        norm, applied = self.update(step)
        loss, ctc, attention, correct = sums.tolist()
        tokens = sizes.attention_tokens
        return StepResult(loss, ctc / sizes.ctc_tokens, attention / tokens, norm, correct / tokens, applied)

    def update(self, step):
        self.scaler.unscale_(self.optimizer)
        limit = self.config.optimizer.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        applied = True
        if applied or self.precision == "fp16":
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        return float(norm), applied


# %% rewritten not_finite_applied
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
        applied = True
        if applied or self.precision == "fp16":
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.model.zero_grad()
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        return float(norm), applied


# %% mutant rate_of_the_step_before
# The schedule is applied after the update: each step has the rate of the step before, and the first one the peak, without any
# warm-up.
class Stepper:
    def step(self, batches, step):
        self.seed(step)
        self.model.spec_augment.strength = ramp(step, *self.ramp)
        self.model.train()
        sizes = Sizes.of(batches, self.ranks)
        sums = self.accumulate(batches, sizes)
        norm, applied = self.update(step)
        self.schedule.apply(self.optimizer, step)
        loss, ctc, attention, correct = sums.tolist()
        tokens = sizes.attention_tokens
        return StepResult(loss, ctc / sizes.ctc_tokens, attention / tokens, norm, correct / tokens, applied)

    def update(self, step):
        self.scaler.unscale_(self.optimizer)
        limit = self.config.optimizer.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        applied = bool(torch.isfinite(norm))
        if applied or self.precision == "fp16":
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        return float(norm), applied


# %% rewritten rate_of_the_step_before
class Stepper:
    def step(self, batches, step):
        self.seed(step)
        self.model.spec_augment.strength = ramp(step, self.ramp[0], self.ramp[1])
        self.model.train(True)
        counts = Sizes.of(batches, self.ranks)
        sums = [float(value) for value in self.accumulate(batches, counts)]
        norm, applied = self.update(step)
        self.schedule.apply(self.optimizer, step)
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


# %% mutant no_training_mode
# The model stays in the mode that it was in. After a validation that is evaluation mode: no dropout and no augmentation from then on,
# and nobody notices but the test set.
class Stepper:
    def step(self, batches, step):
        self.seed(step)
        self.schedule.apply(self.optimizer, step)
        self.model.spec_augment.strength = ramp(step, *self.ramp)
        sizes = Sizes.of(batches, self.ranks)
        sums = self.accumulate(batches, sizes)
        norm, applied = self.update(step)
        loss, ctc, attention, correct = sums.tolist()
        tokens = sizes.attention_tokens
        return StepResult(loss, ctc / sizes.ctc_tokens, attention / tokens, norm, correct / tokens, applied)

    def update(self, step):
        self.scaler.unscale_(self.optimizer)
        limit = self.config.optimizer.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        applied = bool(torch.isfinite(norm))
        if applied or self.precision == "fp16":
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        return float(norm), applied


# %% rewritten no_training_mode
class Stepper:
    def step(self, batches, step):
        self.seed(step)
        self.schedule.apply(self.optimizer, step)
        self.model.spec_augment.strength = ramp(step, self.ramp[0], self.ramp[1])
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


# %% mutant average_of_the_old_weights
# The average is updated before the weights are: it always lags one step behind.
class Stepper:
    def step(self, batches, step):
        self.seed(step)
        self.schedule.apply(self.optimizer, step)
        self.model.spec_augment.strength = ramp(step, *self.ramp)
        self.model.train()
        sizes = Sizes.of(batches, self.ranks)
        sums = self.accumulate(batches, sizes)
        norm, applied = self.update(step)
        loss, ctc, attention, correct = sums.tolist()
        tokens = sizes.attention_tokens
        return StepResult(loss, ctc / sizes.ctc_tokens, attention / tokens, norm, correct / tokens, applied)

    def update(self, step):
        self.scaler.unscale_(self.optimizer)
        limit = self.config.optimizer.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        applied = bool(torch.isfinite(norm))
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        if applied or self.precision == "fp16":
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return float(norm), applied


# %% rewritten average_of_the_old_weights
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
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        if applied or self.precision == "fp16":
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.model.zero_grad()
        return float(norm), applied


# %% mutant another_dropout_each_time
# The random numbers are not those of the step: a resumed run draws other dropout and other masks, and ends somewhere else.
class Stepper:
    def step(self, batches, step):
        self.schedule.apply(self.optimizer, step)
        self.model.spec_augment.strength = ramp(step, *self.ramp)
        self.model.train()
        sizes = Sizes.of(batches, self.ranks)
        sums = self.accumulate(batches, sizes)
        norm, applied = self.update(step)
        loss, ctc, attention, correct = sums.tolist()
        tokens = sizes.attention_tokens
        return StepResult(loss, ctc / sizes.ctc_tokens, attention / tokens, norm, correct / tokens, applied)

    def update(self, step):
        self.scaler.unscale_(self.optimizer)
        limit = self.config.optimizer.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        applied = bool(torch.isfinite(norm))
        if applied or self.precision == "fp16":
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        return float(norm), applied


# %% rewritten another_dropout_each_time
class Stepper:
    def step(self, batches, step):
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


# %% mutant overflow_unseen
# Under fp16 a gradient that has overflowed is left out without a word to the scaler. Its factor stays as it is, the next gradient
# overflows too, and the training never makes a step again.
class Stepper:
    def step(self, batches, step):
        self.seed(step)
        self.schedule.apply(self.optimizer, step)
        self.model.spec_augment.strength = ramp(step, *self.ramp)
        self.model.train()
        sizes = Sizes.of(batches, self.ranks)
        sums = self.accumulate(batches, sizes)
        norm, applied = self.update(step)
        loss, ctc, attention, correct = sums.tolist()
        tokens = sizes.attention_tokens
        return StepResult(loss, ctc / sizes.ctc_tokens, attention / tokens, norm, correct / tokens, applied)

    def update(self, step):
        self.scaler.unscale_(self.optimizer)
        limit = self.config.optimizer.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        applied = bool(torch.isfinite(norm))
        if applied:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        return float(norm), applied


# %% rewritten overflow_unseen
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
        if applied:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.model.zero_grad()
        if applied and self.ema is not None:
            self.ema.update(self.model, step)
        return float(norm), applied
