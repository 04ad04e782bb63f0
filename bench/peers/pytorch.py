# PyTorch on the CPU, eager: the same JSON lines as host.mjs, for whole training steps.
import json
import pathlib
import sys
import time

import torch

threads = int(sys.argv[1])
torch.set_num_threads(threads)
torch.set_num_interop_threads(1)


def say(answer):
    print(json.dumps(answer), flush=True)


def uniform(seed):
    """Mulberry32, as in bench/uniform.ts."""
    mask = 0xFFFFFFFF
    state = seed
    while True:
        state = (state + 0x6D2B79F5) & mask
        t = ((state ^ (state >> 15)) * (1 | state)) & mask
        t = ((t + (((t ^ (t >> 7)) * (61 | t)) & mask)) & mask) ^ t
        yield (t ^ (t >> 14)) / 2**32


def input_data(shapes):
    numbers = uniform(1)
    for shape in shapes:
        n = 1
        for extent in shape:
            n *= extent
        yield torch.tensor([2 * next(numbers) - 1 for _ in range(n)]).reshape(shape)


class StepMlp:
    def __init__(self, inputs, params):
        self.x, *weights = inputs
        self.weights = [(params["scale"] * w).requires_grad_() for w in weights]
        rows, classes = self.x.shape[0], weights[3].shape[0]
        self.labels = torch.arange(rows) % classes
        self.optimizer = torch.optim.SGD(self.weights, lr=params["lr"])
        self.checked = params["checked"]

    def run(self):
        w1, b1, w2, b2 = self.weights
        h = torch.relu(torch.addmm(b1, self.x, w1))
        loss = torch.nn.functional.cross_entropy(torch.addmm(b2, h, w2), self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def read(self):
        return [self.run().item() for _ in range(self.checked)]


class StepTransformer:
    """bench/steps/transformer.ts, whose parameters come in the same order."""

    def __init__(self, inputs, params):
        stream, *weights = inputs
        self.heads, self.layers = params["heads"], params["layers"]
        # tokens, positions, then of every layer 2 norms and 6 products, then the last norm; a pair each
        self.p = [params["scale"] * w for w in weights]
        for first in [2 + 16 * i + at for i in range(self.layers) for at in (0, 10)] + [-2]:
            self.p[first] += 1
        for p in self.p:
            p.requires_grad_()
        tokens = ((stream.double() + 1) / 2 * len(weights[0])).long()
        self.tokens, self.next = tokens[:, :-1], tokens[:, 1:].reshape(-1)
        width, size = weights[0].shape[1], tokens.shape[1] - 1
        self.scale = (width / self.heads) ** -0.5
        self.hidden = torch.ones(size, size, dtype=torch.bool).triu(1)
        self.optimizer = torch.optim.AdamW(
            self.p,
            lr=params["lr"],
            betas=(params["beta1"], params["beta2"]),
            eps=params["eps"],
            weight_decay=params["weight_decay"],
        )
        self.checked = params["checked"]

    def loss(self):
        rest = iter(self.p)
        pair = lambda: (next(rest), next(rest))
        batch, size = self.tokens.shape

        def norm(x):
            return torch.nn.functional.layer_norm(x, x.shape[-1:], *pair())

        def linear(x):
            weight, bias = pair()
            return torch.addmm(bias, x, weight)

        def split(x):
            return x.view(batch, size, self.heads, -1).transpose(1, 2)

        embedding, positions = pair()
        width = embedding.shape[1]
        x = (torch.nn.functional.embedding(self.tokens, embedding) + positions).view(-1, width)
        for _ in range(self.layers):
            h = norm(x)
            q, k, v = (split(linear(h)) for _ in "qkv")
            scores = (q @ k.transpose(2, 3) * self.scale).masked_fill(self.hidden, float("-inf"))
            o = torch.softmax(scores, -1) @ v
            x = x + linear(o.transpose(1, 2).reshape(-1, width))
            up = torch.nn.functional.gelu(linear(norm(x)), approximate="tanh")
            x = x + linear(up)
        return torch.nn.functional.cross_entropy(norm(x) @ embedding.t(), self.next)

    def run(self):
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def read(self):
        return [self.run().item() for _ in range(self.checked)]


class StepFoops:
    """algorithms/foops: inner steps of y, then one of x; F(x) is computed once, as there."""

    def __init__(self, inputs, params):
        (x,) = inputs
        self.p = params
        size = len(x)
        self.centres = torch.stack([torch.full((size,), sign * size**-0.5) for sign in (1, -1)])
        self.v = torch.tensor([5.0, -4.0]) / 41**0.5
        self.x = (params["scale"] * x).requires_grad_()
        self.y = self.x.detach().clone().requires_grad_()
        self.outer = torch.optim.SGD([self.x], lr=params["alpha"])
        self.inner = torch.optim.SGD([self.y], lr=params["beta"])
        self.room = params["tau"] * torch.log(torch.tensor(2.0))

    def objectives(self, x):
        return 1 - torch.exp(-((x - self.centres) ** 2).sum(1))

    def run(self):
        tau = self.p["tau"]
        f = self.objectives(self.x)
        fx = f.detach()
        for _ in range(self.p["inner"]):
            h = tau * torch.logsumexp((self.objectives(self.y) - fx) / tau, 0)
            self.inner.zero_grad()
            h.backward()
            self.inner.step()
        with torch.no_grad():
            d = (self.objectives(self.y) - fx) / tau
            v = self.room - tau * torch.logsumexp(d, 0)
            weights = self.p["gamma"] * 2 * v * torch.softmax(d, 0)
        phi = (self.v @ f) ** 2 + weights @ f
        self.outer.zero_grad()
        phi.backward()
        self.outer.step()
        return fx

    def read(self):
        return [self.run()[0].item() for _ in range(self.p["checked"])]


def tokens_of(stream, vocabulary):
    return ((stream.double() + 1) / 2 * vocabulary).long()


class TwoSources:
    """algorithms/safety-capability, Case I at λ = 1: losses of task and proxy from one pass, Adam."""

    def __init__(self, trained, params):
        self.trained = [p.requires_grad_() for p in trained]
        betas = (params["beta1"], params["beta2"])
        self.optimizer = torch.optim.Adam(
            self.trained, lr=params["lr"], betas=betas, eps=params["eps"]
        )
        self.checked = params["checked"]

    def run(self):
        task, proxy = self.loss().view(2, -1).mean(1)
        self.optimizer.zero_grad()
        ((task + proxy) / 2).backward()
        self.optimizer.step()
        return task

    def read(self):
        return [self.run().item() for _ in range(self.checked)]


class StepSafetyNetwork(TwoSources):
    def __init__(self, inputs, params):
        prompts, answers, *weights = inputs
        super().__init__([params["scale"] * w for w in weights], params)
        vocabulary = params["vocabulary"]
        places = torch.arange(prompts.shape[1]) * vocabulary
        self.prompt = tokens_of(prompts, params["prompts"]) + places
        self.answer = tokens_of(answers, vocabulary)
        self.vocabulary = vocabulary

    def loss(self):
        w1, b1, w2, b2 = self.trained
        h = torch.relu(torch.nn.functional.embedding_bag(self.prompt, w1, mode="sum") + b1)
        logits = torch.addmm(b2, h, w2).view(-1, self.vocabulary)
        return torch.nn.functional.cross_entropy(logits, self.answer.view(-1), reduction="none")


class StepSafetyLora(TwoSources):
    """bench/steps/safety.ts, whose parameters come in the same order."""

    PRODUCTS = ("q", "k", "v", "o", "gate", "up", "down")

    def __init__(self, inputs, params):
        stream, *weights = inputs
        self.layers, self.heads, self.groups = params["layers"], params["heads"], params["groups"]
        weights = [params["scale"] * w for w in weights]
        rest = iter(weights)
        self.embedding, self.positions = next(rest), next(rest)
        names = [(i, n) for i in range(self.layers) for n in self.PRODUCTS]
        self.frozen = {name: next(rest) for name in names}
        self.gains = [1 + next(rest) for _ in range(2 * self.layers + 1)]
        low = list(rest)
        super().__init__(low, params)
        self.low = {name: (low[2 * k], low[2 * k + 1]) for k, name in enumerate(names)}
        self.by = params["alpha"] / params["rank"]
        self.norm = params["norm"]
        tokens = tokens_of(stream, len(self.embedding))
        self.tokens, self.answer = tokens[:, :-1], tokens[:, -params["answer"] :]
        size, depth = self.tokens.shape[1], self.embedding.shape[1] // self.heads
        turns = params["theta"] ** (-2 * torch.arange(depth // 2) / depth)
        angles = (torch.arange(size)[:, None] * turns).repeat(1, 2)
        self.cos, self.sin = angles.cos(), angles.sin()
        self.hidden = torch.ones(size, size, dtype=torch.bool).triu(1)
        self.scale = depth**-0.5

    def loss(self):
        batch, size = self.tokens.shape
        width = self.embedding.shape[1]
        gains = iter(self.gains)

        def norm(x):
            y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.norm)
            return y * next(gains)

        def linear(x, name):
            a, b = self.low[name]
            return x @ self.frozen[name] + self.by * ((x @ a) @ b)

        def split(x, heads):
            return x.view(batch, size, heads, -1).transpose(1, 2)

        def turn(x):
            first, second = x.chunk(2, -1)
            return x * self.cos + torch.cat((-second, first), -1) * self.sin

        def repeat(x):
            return x.repeat_interleave(self.heads // self.groups, 1)

        x = (torch.nn.functional.embedding(self.tokens, self.embedding) + self.positions).view(
            -1, width
        )
        for i in range(self.layers):
            h = norm(x)
            q = turn(split(linear(h, (i, "q")), self.heads))
            k = repeat(turn(split(linear(h, (i, "k")), self.groups)))
            v = repeat(split(linear(h, (i, "v")), self.groups))
            scores = (q @ k.transpose(2, 3) * self.scale).masked_fill(self.hidden, float("-inf"))
            o = torch.softmax(scores, -1) @ v
            x = x + linear(o.transpose(1, 2).reshape(-1, width), (i, "o"))
            n = norm(x)
            inside = torch.nn.functional.silu(linear(n, (i, "gate"))) * linear(n, (i, "up"))
            x = x + linear(inside, (i, "down"))
        last = norm(x).view(batch, size, width)[:, -self.answer.shape[1] :].reshape(-1, width)
        logits = last @ self.embedding.t()
        return torch.nn.functional.cross_entropy(
            logits, self.answer.reshape(-1), reduction="none"
        )


OPS = {
    "step_mlp": StepMlp,
    "step_transformer": StepTransformer,
    "step_foops": StepFoops,
    "step_safety_network": StepSafetyNetwork,
    "step_safety_lora": StepSafetyLora,
}


def sample(run, min_samples, max_seconds):
    """Samples of at least 1.5 ms."""
    runs = 1
    while True:
        start = time.perf_counter()
        for _ in range(runs):
            run()
        if time.perf_counter() - start >= 0.0015:
            break
        runs *= 2
    seconds = []
    end = time.perf_counter() + max_seconds
    while len(seconds) < min_samples or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(runs):
            run()
        seconds.append((time.perf_counter() - start) / runs)
    return seconds


def blas():
    """What multiplies: a PyTorch of Debian takes the system's BLAS, which may be the reference one."""
    try:
        with open("/proc/self/maps") as maps:
            found = {pathlib.Path(line.split()[-1]) for line in maps if "blas" in line}
    except OSError:
        return ""
    return "".join(f", {path.parent.name}" for path in found if path.name.startswith("libblas"))


def main():
    build = f"torch {torch.__version__}{blas()}"
    say({"build": build, "backend": "native", "native": True, "threads": threads})
    current = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "prepare":
                problem = request["problem"]
                if problem["op"] not in OPS:
                    raise ValueError(f"has no {problem['op']}: it is here for training steps")
                inputs = list(input_data(problem["inputs"]))
                current = OPS[problem["op"]](inputs, problem.get("params", {}))
                output = current.read()
                sample(current.run, 1, 0.4)
                say({"values": [output[i] for i in request["indices"]], "copies": False})
            elif request["do"] == "time":
                say({"seconds": sample(current.run, request["minSamples"], request["maxSeconds"])})
            else:
                current = None
                say({})
        except Exception as error:
            say({"error": str(error).split("\n")[0]})


main()
