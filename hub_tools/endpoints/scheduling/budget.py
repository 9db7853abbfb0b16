"""What a run may use up of money and time, over all its judges, and what each judge's requests cost."""

from __future__ import annotations

import time
from collections.abc import Callable

from hf_relabel.builders.endpoint import EndpointError, Reply, Request

TOKENS_PER_CHARACTER = 0.4
"""Guess on the safe side until the first reply tells; English has about 0.25."""
FEW = 16
"""Answers after which the longest of them tells how long answers get."""


class Budget:
    """What a run has used up. One for all schedulers of a run, so that caps and deadlines are those of the run.

    Example:
            budget = Budget()
            await Scheduler(first, Limits(deadline=3600), budget=budget).run(requests, on_done)
            await Scheduler(second, Limits(deadline=3600), budget=budget).run(requests, on_done)  # what is left of it

    Args:
        spent: what is spent already.
        elapsed: seconds since the run began.
        clock: seconds from any start.

    Attributes:
        spent: in the currency of the prices.
        reserved: what the requests in flight may still cost.
    """

    def __init__(
        self, *, spent: float = 0.0, elapsed: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._began = clock() - elapsed
        self.spent = spent
        self.reserved = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._began


class Spending:
    """What the requests of one judge cost, and whether the run can afford another.

    Requests in flight are taken at their length times the tokens per character seen so far, plus the longest answer
    seen so far (before the first few answers: the longest allowed).

    Args:
        budget: of the run.
        cap: what the run may cost, None for no cap.
        price_prompt, price_completion: per million tokens.

    Attributes:
        cost: of this judge's requests.
    """

    def __init__(self, budget: Budget, cap: float | None, price_prompt: float, price_completion: float) -> None:
        self._budget, self._cap = budget, cap
        self._price_prompt = price_prompt / 1e6
        self._price_completion = price_completion / 1e6
        self._is_priced = bool(price_prompt or price_completion)
        self._characters = 0
        self._tokens = 0
        self._answers = 0
        self._longest = 0
        self.cost = 0.0

    def estimate(self, request: Request) -> float:
        """What a request will cost, on the high side. 0 where nothing has a price."""
        if not self._is_priced:
            return 0.0
        most = request.most_generated
        completion = most if self._answers < FEW else min(self._longest, most)
        return self._price(self._prompt_tokens(request), completion)

    def allows(self, estimate: float) -> bool:
        """Whether one more request of this cost keeps the run within its cap."""
        budget = self._budget
        return self._cap is None or budget.spent + budget.reserved + estimate <= self._cap * (1 + 1e-9)

    def sent(self, estimate: float) -> None:
        """A request is on its way."""
        self._budget.reserved += estimate

    def back(self, estimate: float) -> None:
        """It is no longer."""
        self._budget.reserved -= estimate

    def answered(self, request: Request, reply: Reply) -> float:
        """Count a reply, and give its cost: tokens that it does not tell are counted at an estimate."""
        if not self._is_priced:
            return 0.0
        prompt, completion = reply.prompt_tokens, reply.completion_tokens
        if completion is not None:
            self._answers += 1
            self._longest = max(self._longest, completion)
        else:
            completion = min(request.most_generated, round(len(reply.text) * TOKENS_PER_CHARACTER))
        if prompt is None:
            return self._spend(self._price(self._prompt_tokens(request), completion))
        if prompt:
            self._tokens += prompt
            self._characters += max(1, request.characters)
        return self._spend(self._price(prompt, completion))

    def failed(self, error: EndpointError, estimate: float) -> float:
        """Count a failed attempt, and give its cost: providers bill the work, whether its answer was heard or not."""
        return self._spend(estimate) if error.is_billed else 0.0

    def _spend(self, cost: float) -> float:
        self.cost += cost
        self._budget.spent += cost
        return cost

    def _price(self, prompt: float, completion: float) -> float:
        return prompt * self._price_prompt + completion * self._price_completion

    def _prompt_tokens(self, request: Request) -> float:
        rate = self._tokens / self._characters if self._characters else TOKENS_PER_CHARACTER
        return request.characters * rate
