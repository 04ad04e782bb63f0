# PyTorch on the CPU, eager: the same JSON lines as host.mjs, for whole training steps.
import json
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


OPS = {"step_mlp": StepMlp}


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


def main():
    build = f"torch {torch.__version__}"
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
