"""Which stretches of speech one person said, from their speaker embeddings alone, without knowing how many speak.

Two steps, much as in VBx (Landini, Profant, Diez and Burget 2022, "Bayesian HMM clustering of x-vector sequences (VBx)
in speaker diarization"): clusters, first of average linkage and then after Ward, and a hidden Markov model whose states
are speakers, learned by variational Bayes, in which speakers that nothing speaks for lose their weight. Time grows with
the length alone: long recordings are clustered block by block, and then the blocks' clusters with each other.
"""

from dataclasses import dataclass

import numpy as np

from speech2face.audio.spectrogram import LEAST_VARIANCE, FloatArray

BLOCK = 600  # embeddings that are clustered at once: five minutes of speech
MOST_CLUSTERS = 24  # of one block


@dataclass(frozen=True)
class SpeakerSpace:
    """Where speaker embeddings lie: two-covariance model of what differs between speakers and within one.

    `project` takes embeddings around `centre`, of unit length, to axes along which the variance within a speaker is
    one, and `between` is that of the speakers' means, (axes,): VBx's probabilistic linear discriminant analysis.
    `overlap` is a line on pooled statistics, (2 * channels,), above zero where two speak at once.

    Beside these embeddings, which are made for the same voice to be known over any line, stand readings: lines on the
    pooled statistics along which the speakers of one recording differ most. `shift` takes from the mean of a
    recording's readings to the part of it that is its microphone's and room's, not its speakers'.
    """

    centre: FloatArray  # (embedding,)
    project: FloatArray  # (axes, embedding)
    between: FloatArray  # (axes,)
    overlap: FloatArray  # (2 * channels,)
    overlap_bias: FloatArray  # (1,)
    lines: FloatArray  # (readings, 2 * channels)
    lines_bias: FloatArray  # (readings,)
    shift: FloatArray  # (readings, readings)
    lines_scale: FloatArray  # (readings,), over which readings of unit length vary by one within a speaker
    lines_between: FloatArray  # (readings,)

    def describe(self, embeddings: FloatArray, sums: FloatArray) -> FloatArray:
        """What is known of each stretch: embedding and readings, from both it and its moments (stretches, 3, channels).

        Returns (stretches, embedding + readings).
        """
        return np.asarray(np.concatenate([embeddings, pooled(sums) @ self.lines.T + self.lines_bias], axis=1))

    @property
    def variances(self) -> FloatArray:
        """Between speakers along each coordinate, (axes + readings,), where that within a speaker is one."""
        return np.concatenate([self.between, self.lines_between])

    def __call__(self, described: FloatArray) -> FloatArray:
        """What is known of all pieces of a recording -> coordinates (pieces, axes + readings)."""
        readings = self.unit_readings(described) * self.lines_scale
        return np.asarray(np.concatenate([self.units(described) @ self.project.T, readings], axis=1), np.float32)

    def both_units(self, described: FloatArray, mean: FloatArray | None = None) -> FloatArray:
        """Embeddings and readings of all pieces of a recording, together of unit length."""
        both = np.concatenate([self.units(described), self.unit_readings(described, mean)], axis=1)
        return np.asarray(both / np.sqrt(2), np.float32)

    def units(self, described: FloatArray) -> FloatArray:
        """Embeddings (pieces, embedding) around the centre, of unit length; what else is known is left out."""
        return _of_unit_length(described[:, : self.centre.size] - self.centre)

    def unit_readings(self, described: FloatArray, mean: FloatArray | None = None) -> FloatArray:
        """Readings of all pieces of a recording, less what is the recording's own, of unit length.

        `mean`, (readings,), is given where these are not all pieces.
        """
        readings = described[:, self.centre.size :]
        return _of_unit_length(readings - (readings.mean(0) if mean is None else mean) @ self.shift.T)

    def overlaps(self, sums: FloatArray) -> FloatArray:
        """How much each pooled stretch sounds like two at once, (stretches, 3, channels) -> (stretches,)."""
        return np.asarray(pooled(sums) @ self.overlap + self.overlap_bias, np.float32)


def _of_unit_length(rows: FloatArray) -> FloatArray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), np.float32)


def pooled(sums: FloatArray) -> FloatArray:
    """Mean and deviation over time, from moments (stretches, 3, channels), (stretches, 2 * channels)."""
    count, total, square = sums[:, 0], sums[:, 1], sums[:, 2]
    mean = total / count
    return np.concatenate([mean, np.sqrt(np.maximum(square / count - mean * mean, LEAST_VARIANCE))], axis=1)


def average_linkage(similarity: np.ndarray, least: float, most: int) -> np.ndarray:
    """Join the most similar clusters until none are as similar as `least`, (items, items) -> labels from 0, (items,).

    Two clusters are as similar as their items are in the mean. At most `most` are left.
    """
    table = np.array(similarity, np.float64)
    count = len(table)
    np.fill_diagonal(table, -np.inf)
    sizes, labels, left = np.ones(count), np.arange(count), count
    while left > 1:
        first, second = divmod(int(table.argmax()), count)
        if table[first, second] < least and left <= most:
            break
        both = sizes[first] + sizes[second]
        row = (sizes[first] * table[first] + sizes[second] * table[second]) / both
        table[first], table[:, first] = row, row
        table[first, first] = -np.inf
        table[second], table[:, second] = -np.inf, -np.inf
        sizes[first], labels[labels == second], left = both, first, left - 1
    return np.unique(labels, return_inverse=True)[1].reshape(-1)


def ward_linkage(coordinates: FloatArray, labels: np.ndarray, most: int) -> np.ndarray:
    """Join clusters of points until `most` are left, (points, axes) and (points,) -> labels from 0, (points,).

    Those are joined first by which the squared distances from the clusters' means grow least (Ward 1963).
    """
    sizes = np.bincount(labels).astype(np.float64)
    means = np.stack([np.bincount(labels, axis) for axis in coordinates.T.astype(np.float64)], axis=1) / sizes[:, None]

    def growth(of: int) -> np.ndarray:
        apart = np.square(means - means[of]).sum(1) * sizes * sizes[of] / np.maximum(sizes + sizes[of], 1)
        return np.where((sizes > 0) & (np.arange(len(sizes)) != of), apart, np.inf)

    table = np.stack([growth(cluster) for cluster in range(len(sizes))])
    whose = np.arange(len(sizes))
    for _ in range(len(sizes) - most):
        first, second = divmod(int(table.argmin()), len(sizes))
        both = sizes[first] + sizes[second]
        means[first] = (sizes[first] * means[first] + sizes[second] * means[second]) / both
        sizes[first], sizes[second] = both, 0
        whose[whose == second] = first
        table[second], table[:, second] = np.inf, np.inf
        table[first] = table[:, first] = growth(first)
    return np.unique(whose[labels], return_inverse=True)[1].reshape(-1)


def first_clusters(units: FloatArray, coordinates: FloatArray, least: float, most: int) -> np.ndarray:
    """Labels of pieces, (pieces,), from embeddings of unit length (pieces, embedding) and coordinates (pieces, axes).

    Block by block those whose cosines are `least` or more are joined, and the blocks' clusters until `most` are left.
    """
    labels, found = np.zeros(len(units), np.int64), 0
    for start in range(0, len(units), BLOCK):
        block = units[start : start + BLOCK]
        own = average_linkage(block @ block.T, least, MOST_CLUSTERS)
        labels[start : start + BLOCK] = own + found
        found += int(own.max()) + 1
    return ward_linkage(coordinates, labels, most)


@dataclass(frozen=True)
class TurnModel:
    """Numbers of the hidden Markov model, by VBx's names.

    `acoustic` (Fa) weighs what pieces say, which overlap and so say less than they seem to; `speaker` (Fb) is how much
    has to speak for a further speaker; `stay` (Ploop) is the chance that the next piece is the same speaker's.
    """

    acoustic: float
    speaker: float
    stay: float


ITERATIONS = 20
FIRST_SURENESS = 0.9  # that a piece is of its first cluster


def speaker_probabilities(
    coordinates: FloatArray, between: FloatArray, labels: np.ndarray, model: TurnModel, *, learn_shares: bool = True
) -> np.ndarray:
    """Probability that each speaker said each piece, (pieces, axes) and first labels (pieces,) -> (pieces, speakers).

    Speakers are as many as labels; with `learn_shares` those that nothing speaks for end near zero (VBx, eq. 17 to 26).
    """
    speakers = int(labels.max()) + 1
    chance = np.full((len(labels), speakers), (1 - FIRST_SURENESS) / max(1, speakers - 1))
    chance[np.arange(len(labels)), labels] = FIRST_SURENESS if speakers > 1 else 1.0
    share = np.full(speakers, 1 / speakers)
    weighted = coordinates * np.sqrt(between)
    ratio = model.acoustic / model.speaker
    for _ in range(ITERATIONS):
        before = chance
        variance = 1 / (1 + ratio * chance.sum(0)[:, None] * between)  # (speakers, axes), of each speaker's mean
        mean = ratio * variance * (chance.T @ weighted)
        fit = model.acoustic * (weighted @ mean.T - 0.5 * ((variance + mean * mean) @ between))
        chance, learned = forward_backward(fit, share, model.stay)
        share = learned if learn_shares else share
        if np.abs(chance - before).max() < 1e-3:
            break
    return chance


def forward_backward(fit: np.ndarray, share: np.ndarray, stay: float) -> tuple[np.ndarray, np.ndarray]:
    """Probability of each state at each time, (times, states), and how often each is entered, summing to one.

    From one time to the next the state stays by the chance of `stay`, and is else drawn anew by its share, (states,);
    `fit` are logarithms of likelihoods up to a constant, (times, states).
    """
    likelihood = np.exp(fit - fit.max(1, keepdims=True))
    forward, scale = np.empty_like(likelihood), np.empty(len(fit))
    reached = share
    for time, here in enumerate(likelihood):
        now = reached * here
        scale[time] = max(now.sum(), 1e-300)
        forward[time] = now / scale[time]
        reached = stay * forward[time] + (1 - stay) * share
    backward, entered = np.ones_like(likelihood), np.zeros(len(share))
    for time in range(len(fit) - 1, 0, -1):
        coming = likelihood[time] * backward[time] / scale[time]
        backward[time - 1] = stay * coming + (1 - stay) * (share @ coming)
        entered += (1 - stay) * share * coming
    chance = forward * backward
    chance /= np.maximum(chance.sum(1, keepdims=True), 1e-300)
    entered += chance[0]
    return chance, entered / entered.sum()


# --- The same while they speak: every piece is judged once, by what was said before it.

FEW_PIECES = 8  # by which a mean of what came so far is drawn to that of other recordings


class OnlineUnits:
    """`SpeakerSpace.both_units` of pieces as they come, the recording's mean being that of what came so far."""

    def __init__(self, space: SpeakerSpace) -> None:
        self._space = space
        self._total = np.zeros(space.lines_bias.size, np.float32)
        self._count = 0

    def add(self, described: FloatArray) -> FloatArray:
        """The next piece, (1, embedding + readings) -> of unit length, (embedding + readings,)."""
        self._total = self._total + described[0, self._space.centre.size :]
        self._count += 1
        mean = self._total / np.float32(self._count + FEW_PIECES)
        return np.asarray(self._space.both_units(described, mean)[0])


@dataclass(frozen=True)
class OnlineRule:
    """By which cosines a piece is given to a voice.

    `same`: to the mean of all that a voice has said, from which on it is that voice's; `new`: up to which `pending`
    pieces on end, none of them like any voice, are a new one; `switch`: by how much another voice must be nearer than
    the last one.
    """

    same: float
    new: float
    switch: float
    pending: int


class OnlineSpeakers:
    """Voices as they are told apart so far, at most `most` of them."""

    def __init__(self, rule: OnlineRule, most: int) -> None:
        self._rule, self._most = rule, most
        self._totals: list[FloatArray] = []  # (embedding,) each: sum of unit lengths
        self._pending: list[FloatArray] = []
        self.current = 0
        """The voice that was heard last."""

    @property
    def count(self) -> int:
        """How many voices there are."""
        return len(self._totals)

    def add(self, unit: FloatArray) -> list[int]:
        """Take the next piece's embedding of unit length; return whose the pieces decided now are, in order."""
        if self._totals:
            likeness = self._likeness(unit)
            best = int(likeness.argmax())
            if likeness[best] < likeness[self.current] + self._rule.switch:
                best = self.current
            if likeness[best] >= self._rule.same:
                return [*self.settle(), self._give(unit, best)]
        self._pending.append(unit)
        return self.settle() if len(self._pending) >= self._rule.pending or not self._totals else []

    def settle(self) -> list[int]:
        """Decide what is like no voice: the likest one's after all, or a new one's where there is enough of it."""
        if not self._pending:
            return []
        voice = self.count
        if self._totals:
            likeness = self._likeness(np.sum(self._pending, axis=0))
            enough = len(self._pending) >= self._rule.pending and self.count < self._most
            if not enough or likeness.max() >= self._rule.new:
                voice = int(likeness.argmax())
        decided = [self._give(unit, voice) for unit in self._pending]
        self._pending = []
        return decided

    def _likeness(self, embedding: FloatArray) -> FloatArray:
        """Cosine of an embedding, (embedding,), and each voice, (voices,)."""
        totals = np.stack(self._totals)
        return np.asarray(totals @ embedding / (np.linalg.norm(totals, axis=1) * np.linalg.norm(embedding) + 1e-9))

    def _give(self, unit: FloatArray, voice: int) -> int:
        if voice == self.count:
            self._totals.append(np.zeros_like(unit))
        self._totals[voice] = self._totals[voice] + unit
        self.current = voice
        return voice
