# One training step of a small Gemma in PyTorch, for bench/train.ts: the same sizes, AdamW, float32, as many threads.
# Arguments: hidden, intermediate, layers, heads, head size, vocabulary, documents, context, steps, threads.
# Prints one line of JSON with the seconds of each step.

import json
import sys
import time

import torch
import torch.nn.functional as F

d, ff, layers, heads, hd, vocab, docs, context, steps, threads = map(int, sys.argv[1:11])
torch.set_num_threads(threads)
torch.manual_seed(0)


def weight(*shape):
    return torch.nn.Parameter(torch.randn(*shape) * 0.02)


embedding = weight(vocab, d)
final = torch.nn.Parameter(torch.zeros(d))
stack = [
    dict(
        n1=torch.nn.Parameter(torch.zeros(d)), q=weight(heads * hd, d), k=weight(hd, d), v=weight(hd, d),
        o=weight(d, heads * hd), n2=torch.nn.Parameter(torch.zeros(d)), g=weight(ff, d), u=weight(ff, d), w=weight(d, ff),
    )
    for _ in range(layers)
]
parameters = [embedding, final] + [p for layer in stack for p in layer.values()]
optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
half = hd // 2
angles = torch.arange(context)[:, None] * 10000.0 ** (-torch.arange(half) / half)
cos, sin = angles.cos()[:, None, :], angles.sin()[:, None, :]
mask = torch.full((context, context), float("-inf")).triu(1)


def norm(x, w):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * (1 + w)


def rope(x):
    a, b = x.split(half, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def loss_of(tokens, targets):
    x = F.embedding(tokens, embedding) * d**0.5
    for p in stack:
        h = norm(x, p["n1"])
        q = rope((h @ p["q"].T).view(docs, context, heads, hd)).transpose(1, 2)
        k = rope((h @ p["k"].T).view(docs, context, 1, hd)).transpose(1, 2)
        v = (h @ p["v"].T).view(docs, context, 1, hd).transpose(1, 2)
        scores = torch.softmax(q @ k.transpose(2, 3) * hd**-0.5 + mask, -1)
        x = x + (scores @ v).transpose(1, 2).reshape(docs, context, heads * hd) @ p["o"].T
        h = norm(x, p["n2"])
        gate = F.gelu(h @ p["g"].T) if torch.__version__ < "1.12" else F.gelu(h @ p["g"].T, approximate="tanh")
        x = x + (gate * (h @ p["u"].T)) @ p["w"].T
    logits = norm(x, final) @ embedding.T
    return F.cross_entropy(logits.view(-1, vocab), targets.view(-1))


seconds = []
for step in range(steps + 1):
    tokens = torch.randint(vocab, (docs, context))
    targets = torch.randint(vocab, (docs, context))
    start = time.perf_counter()
    loss = loss_of(tokens, targets)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    seconds.append(time.perf_counter() - start)
print(json.dumps({"version": torch.__version__, "seconds": seconds[1:], "loss": float(loss)}))
