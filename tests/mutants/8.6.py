# %% mutant optimiser_forgotten
# The optimiser's state is saved and never taken up: Adam begins again with empty moments, and its first steps after a restart go
# astray.
class Stepper:
    def state_dict(self):
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.average if self.ema is not None else None,
            "precision": self.precision,
        }

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])
        self.schedule.load_state_dict(state["schedule"])
        self.precision = state["precision"]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.average = {name: tensor.to(self.device) for name, tensor in state["ema"].items()}


# %% rewritten optimiser_forgotten
class Stepper:
    def state_dict(self):
        state = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "schedule", "scaler")}
        state["precision"] = self.precision
        state["ema"] = None if self.ema is None else dict(self.ema.average)
        return state

    def load_state_dict(self, state):
        self.precision = state["precision"]
        if self.precision == "fp16":
            self.scaler = torch.amp.GradScaler(self.device.type)
            self.scaler.load_state_dict(state["scaler"])
        else:
            self.scaler = torch.amp.GradScaler(self.device.type, enabled=False)
        for name in (
            "model",
            "schedule",
        ):
            getattr(self, name).load_state_dict(state[name])
        if self.ema is not None:
            self.ema.average = {name: value.to(self.device) for name, value in state["ema"].items()}


# %% mutant schedule_forgotten
# What the schedule has learnt from validations is lost: a rate that was lowered on a plateau jumps up again.
class Stepper:
    def state_dict(self):
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.average if self.ema is not None else None,
            "precision": self.precision,
        }

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.precision = state["precision"]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.average = {name: tensor.to(self.device) for name, tensor in state["ema"].items()}


# %% rewritten schedule_forgotten
class Stepper:
    def state_dict(self):
        state = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "schedule", "scaler")}
        state["precision"] = self.precision
        state["ema"] = None if self.ema is None else dict(self.ema.average)
        return state

    def load_state_dict(self, state):
        self.precision = state["precision"]
        if self.precision == "fp16":
            self.scaler = torch.amp.GradScaler(self.device.type)
            self.scaler.load_state_dict(state["scaler"])
        else:
            self.scaler = torch.amp.GradScaler(self.device.type, enabled=False)
        for name in (
            "model",
            "optimizer",
        ):
            getattr(self, name).load_state_dict(state[name])
        if self.ema is not None:
            self.ema.average = {name: value.to(self.device) for name, value in state["ema"].items()}


# %% mutant average_forgotten
# The average of the weights is not taken up: after a restart it is that of a model that has never been trained.
class Stepper:
    def state_dict(self):
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.average if self.ema is not None else None,
            "precision": self.precision,
        }

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.precision = state["precision"]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.scaler.load_state_dict(state["scaler"])


# %% rewritten average_forgotten
class Stepper:
    def state_dict(self):
        state = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "schedule", "scaler")}
        state["precision"] = self.precision
        state["ema"] = None if self.ema is None else dict(self.ema.average)
        return state

    def load_state_dict(self, state):
        self.precision = state["precision"]
        if self.precision == "fp16":
            self.scaler = torch.amp.GradScaler(self.device.type)
            self.scaler.load_state_dict(state["scaler"])
        else:
            self.scaler = torch.amp.GradScaler(self.device.type, enabled=False)
        for name in (
            "model",
            "optimizer",
            "schedule",
        ):
            getattr(self, name).load_state_dict(state[name])


# %% mutant average_from_the_weights
# The average begins again from the weights as they are. They are one step; it remembered hundreds.
class Stepper:
    def state_dict(self):
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.average if self.ema is not None else None,
            "precision": self.precision,
        }

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.precision = state["precision"]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema = Ema(self.model, self.config.ema_decay)


# %% rewritten average_from_the_weights
class Stepper:
    def state_dict(self):
        state = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "schedule", "scaler")}
        state["precision"] = self.precision
        state["ema"] = None if self.ema is None else dict(self.ema.average)
        return state

    def load_state_dict(self, state):
        self.precision = state["precision"]
        if self.precision == "fp16":
            self.scaler = torch.amp.GradScaler(self.device.type)
            self.scaler.load_state_dict(state["scaler"])
        else:
            self.scaler = torch.amp.GradScaler(self.device.type, enabled=False)
        for name in (
            "model",
            "optimizer",
            "schedule",
        ):
            getattr(self, name).load_state_dict(state[name])
        if self.ema is not None:
            now = dict(self.model.named_parameters())
            self.ema.average = {name: value.detach().clone() for name, value in now.items()}


# %% mutant precision_of_this_machine
# The precision is what this machine would choose, not what the run began with; a scaler that fp16 needs stays switched off.
class Stepper:
    def state_dict(self):
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.average if self.ema is not None else None,
            "precision": self.precision,
        }

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.ema is not None:
            self.ema.average = {name: tensor.to(self.device) for name, tensor in state["ema"].items()}


# %% rewritten precision_of_this_machine
class Stepper:
    def state_dict(self):
        state = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "schedule", "scaler")}
        state["precision"] = self.precision
        state["ema"] = None if self.ema is None else dict(self.ema.average)
        return state

    def load_state_dict(self, state):
        for name in (
            "model",
            "optimizer",
            "schedule",
        ):
            getattr(self, name).load_state_dict(state[name])
        if self.ema is not None:
            self.ema.average = {name: value.to(self.device) for name, value in state["ema"].items()}


# %% mutant weights_forgotten
# Everything is taken up but the weights: the optimiser goes on, with a new model.
class Stepper:
    def state_dict(self):
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.average if self.ema is not None else None,
            "precision": self.precision,
        }

    def load_state_dict(self, state):
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.precision = state["precision"]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.average = {name: tensor.to(self.device) for name, tensor in state["ema"].items()}


# %% rewritten weights_forgotten
class Stepper:
    def state_dict(self):
        state = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "schedule", "scaler")}
        state["precision"] = self.precision
        state["ema"] = None if self.ema is None else dict(self.ema.average)
        return state

    def load_state_dict(self, state):
        self.precision = state["precision"]
        if self.precision == "fp16":
            self.scaler = torch.amp.GradScaler(self.device.type)
            self.scaler.load_state_dict(state["scaler"])
        else:
            self.scaler = torch.amp.GradScaler(self.device.type, enabled=False)
        for name in (
            "optimizer",
            "schedule",
        ):
            getattr(self, name).load_state_dict(state[name])
        if self.ema is not None:
            self.ema.average = {name: value.to(self.device) for name, value in state["ema"].items()}
