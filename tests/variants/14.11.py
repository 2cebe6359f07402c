# %% by_groups
def train(loss_of, batches, optimizer, schedule, accumulate):
    losses, rates = [], []
    groups = [batches[first : first + accumulate] for first in range(0, len(batches), accumulate)]
    for step, group in enumerate(groups):
        schedule.apply(optimizer, step)
        optimizer.zero_grad()
        mean = sum(loss_of(batch) for batch in group) / accumulate
        mean.backward()
        optimizer.step()
        losses.append(mean.item())
        rates.append(optimizer.param_groups[0]["lr"])
    optimizer.zero_grad()
    return losses, rates
