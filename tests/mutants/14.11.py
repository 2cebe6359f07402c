# %% mutant counts_batches
# The schedule is asked for each batch. It was made for optimiser steps, of which there are only a quarter as many: the warm-up is over
# after a quarter of its time, and after a quarter of the training the rate is zero. Ask it for number // accumulate.
def train(loss_of, batches, optimizer, schedule, accumulate):
    losses, rates, total = [], [], 0.0
    for number, batch in enumerate(batches):
        schedule.apply(optimizer, number)
        loss = loss_of(batch) / accumulate
        loss.backward()
        total += loss.item()
        if (number + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
            losses.append(total)
            rates.append(optimizer.param_groups[0]["lr"])
            total = 0.0
    return losses, rates


# %% rewritten counts_batches
def train(loss_of, batches, optimizer, schedule, accumulate):
    history = []
    seen = 0
    while seen < len(batches):
        parts = []
        for batch in batches[seen : seen + accumulate]:
            part = loss_of(batch) / accumulate
            part.backward()
            parts.append(part.item())
        seen += accumulate
        schedule.apply(optimizer, seen - 1)
        optimizer.step()
        optimizer.zero_grad()
        history.append((sum(parts), optimizer.param_groups[0]["lr"]))
    return [loss for loss, _ in history], [rate for _, rate in history]


# %% mutant rate_divided
# The schedule still counts batches, and the rate is divided by their number on top of it. The loss is a mean already, there is nothing
# to be divided; and the rate still gets to zero after a quarter of the training. Let the schedule count steps.
def train(loss_of, batches, optimizer, schedule, accumulate):
    losses, rates, total = [], [], 0.0
    for number, batch in enumerate(batches):
        schedule.apply(optimizer, number)
        for group in optimizer.param_groups:
            group["lr"] /= accumulate
        loss = loss_of(batch) / accumulate
        loss.backward()
        total += loss.item()
        if (number + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
            losses.append(total)
            rates.append(optimizer.param_groups[0]["lr"])
            total = 0.0
    return losses, rates


# %% rewritten rate_divided
def train(loss_of, batches, optimizer, schedule, accumulate):
    losses, rates = [], []
    for last in range(accumulate - 1, len(batches), accumulate):
        optimizer.zero_grad()
        parts = [loss_of(batch) / accumulate for batch in batches[last - accumulate + 1 : last + 1]]
        sum(parts).backward()
        schedule.apply(optimizer, last)
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] / accumulate
        optimizer.step()
        losses.append(float(sum(parts)))
        rates.append(optimizer.param_groups[0]["lr"])
    return losses, rates


# %% mutant only_the_fall_stretched
# The schedule was made longer, so that its fall ends where the training ends. But it still counts batches: the warm-up is over after a
# quarter of the steps that it was to take, and a large rate too early can ruin a training. Let the schedule count steps.
def train(loss_of, batches, optimizer, schedule, accumulate):
    schedule.total_steps = schedule.total_steps * accumulate
    losses, rates, total = [], [], 0.0
    for number, batch in enumerate(batches):
        schedule.apply(optimizer, number)
        loss = loss_of(batch) / accumulate
        loss.backward()
        total += loss.item()
        if (number + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
            losses.append(total)
            rates.append(optimizer.param_groups[0]["lr"])
            total = 0.0
    return losses, rates


# %% rewritten only_the_fall_stretched
def train(loss_of, batches, optimizer, schedule, accumulate):
    longer = Schedule(schedule.config, accumulate * schedule.total_steps)
    losses, rates = [], []
    for last in range(accumulate - 1, len(batches), accumulate):
        optimizer.zero_grad()
        parts = [loss_of(batch) / accumulate for batch in batches[last - accumulate + 1 : last + 1]]
        sum(parts).backward()
        longer.apply(optimizer, last)
        optimizer.step()
        losses.append(float(sum(parts)))
        rates.append(optimizer.param_groups[0]["lr"])
    return losses, rates
