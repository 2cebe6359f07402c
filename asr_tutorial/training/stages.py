"""Progressive training inside a run: which stage it is in, what that changes, and when the next one begins.

The state is a :class:`~asr_tutorial.progressive.StageProgress`. Everything else follows from it and the configuration,
so a run that was killed takes up its stage, and ends it, as it would have done anyway.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping
from typing import Any

from asr_tutorial.config import Config
from asr_tutorial.dataset import SpeechLoader
from asr_tutorial.model import count_parameters
from asr_tutorial.progressive import (
    Stage,
    StageProgress,
    check_freezing,
    choose_utterances,
    config_of_stage,
    freeze,
    grow,
    is_over,
    places_of_new,
    plan_stages,
    set_dropout,
)
from asr_tutorial.training.optimizer import warm_up_young
from asr_tutorial.training.sampling import falling_share
from asr_tutorial.training.state import Progress
from asr_tutorial.training.step import Stepper

logger = logging.getLogger("asr_tutorial")


class Stages:
    """The stages of a run. A training that is not progressive has none, and every method leaves it as it is.

    Attributes:
        plan: the stages, every setting filled in.
        progress: where the run stands.

    Args:
        config: of the run.

    Raises:
        ConfigError: stages that make no sense together.
    """

    def __init__(self, config: Config) -> None:
        self.run_config = config
        self.plan = plan_stages(config)
        self.progress = StageProgress()
        self._fixed: list[str] | None = None

    @property
    def stage(self) -> Stage | None:
        """The stage in progress; None where the training is not progressive."""
        return self.plan[self.progress.number] if self.plan else None

    @property
    def config(self) -> Config:
        """The configuration of the model as it is now."""
        return config_of_stage(self.run_config, self.stage) if self.stage is not None else self.run_config

    def enter(self, stepper: Stepper, loader: SpeechLoader) -> None:
        """Make model, optimiser and data what the stage in progress says.

        Args:
            stepper: whose model has the depth of this stage or of an earlier one.
            loader: of the training data.

        Raises:
            ConfigError: ``freeze`` names nothing, or everything.
        """
        stage, number = self.stage, self.progress.number
        if stage is None:
            return
        model = stepper.model
        if self._fixed is None:  # what rests anyway, whatever the stage
            check_freezing(model, self.plan)
            self._fixed = [f"^{re.escape(name)}$" for name, p in model.named_parameters() if not p.requires_grad]
        if self._fixed or stage.freeze or any(not p.requires_grad for p in model.parameters()):
            freeze(model, self._fixed)
        seed = stepper.config.seed * 1_000_003 + number
        grow(model, self.config.model, seed, self.run_config.progressive.place)
        # The optimiser knows all that ever learns, so that what it knows of a parameter outlasts a rest.
        stepper.renew_optimizer(self._new_parameters(stepper))
        freeze(model, [*self._fixed, *stage.freeze])
        stepper.wrap(model, stepper.config.compile)
        set_dropout(model, stage.dropout, stage.attention_dropout)
        model.spec_augment.limit = stage.spec_augment
        stepper.criterion.label_smoothing = stage.label_smoothing
        loader.restrict(choose_utterances(loader.dataset.lengths(), stage.data, stage.order, stepper.config.seed))
        logger.info(
            "stage %d of %d: %d + %d layers, %.2fM parameters that learn, %.0f%% of the data",
            number + 1,
            len(self.plan),
            stage.encoder_layers,
            stage.decoder_layers,
            count_parameters(model) / 1e6,
            100 * stage.data,
        )

    def before_step(self, stepper: Stepper, progress: Progress, epoch: float) -> None:
        """Set what changes from step to step.

        Args:
            stepper: about to make step ``progress.step``.
            progress: of the run.
            epoch: passes over the data so far, with fractions.
        """
        if self.plan:
            steps = progress.step - self.progress.first_step
            warm_up_young(stepper.optimizer, steps, self.run_config.progressive.rewarm_steps)
        if stepper.sampling is not None:
            config = self.run_config.training
            share = self.stage.teacher_forcing if self.stage is not None else None
            falling = falling_share(epoch, *config.teacher_forcing_epochs, config.teacher_forcing)
            stepper.sampling.set(falling if share is None else share)

    def after_validation(self, error: float) -> None:
        """Tell a self-paced stage how dev went; lower is better."""
        self.progress.history.append(error)

    def is_over(self, progress: Progress, batches: int) -> bool:
        """Whether the stage in progress ends here and another one follows.

        Args:
            progress: of the run.
            batches: in the epoch in progress.
        """
        if self.stage is None or self.progress.number == len(self.plan) - 1:
            return False
        steps = progress.step - self.progress.first_step
        epochs = progress.epoch - self.progress.first_epoch + (progress.batch >= batches)
        return is_over(self.stage, steps, epochs, self.progress.history)

    def advance(self, stepper: Stepper, loader: SpeechLoader, progress: Progress) -> None:
        """Begin the next stage, and with it a new epoch: its share of the data may be another one."""
        progress.epoch, progress.batch = progress.epoch + (progress.batch > 0), 0
        self.progress = StageProgress(self.progress.number + 1, progress.step, progress.epoch)
        self.enter(stepper, loader)

    def facts(self) -> dict[str, Any]:
        """What a validation's record says about the stage."""
        if self.stage is None:
            return {}
        layers = {name: getattr(self.stage, name) for name in ("encoder_layers", "decoder_layers")}
        return {"stage": self.progress.number + 1, "stage_began": self.progress.first_step, **layers}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, as plain values."""
        return dataclasses.asdict(self.progress)

    def resume(self, state: Mapping[str, Any], stepper: Stepper, loader: SpeechLoader) -> None:
        """Take up a stage: afterwards ``stepper`` has the parameters whose values its own state holds."""
        self.progress = StageProgress(**state)
        if self.progress.number:
            self.enter(stepper, loader)

    def _new_parameters(self, stepper: Stepper) -> set[str]:
        """Names of the parameters that this stage has and the one before had not."""
        if self.progress.number == 0:
            return set()
        before, now = self.plan[self.progress.number - 1 : self.progress.number + 1]
        prefixes = tuple(
            f"{stack}.layers.{index}."
            for stack in ("encoder", "decoder")
            for index in places_of_new(
                getattr(before, f"{stack}_layers"),
                getattr(now, f"{stack}_layers"),
                self.run_config.progressive.place,
            )
        )
        return (
            {name for name, _ in stepper.model.named_parameters() if name.startswith(prefixes)} if prefixes else set()
        )
