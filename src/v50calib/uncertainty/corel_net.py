"""CoRel's network in plain torch: residual graph attention over channels, an output that starts at 0.

Graph attention: Velickovic et al. 2018 (arXiv:1710.10903), eq. 1-4, on neighbour lists of equal length, so that nothing is
scattered and a seed fixes every number. Origin of the method: Cini, Jenkins, Mandic, Alippi & Bianchi, ICML 2025.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from v50calib.uncertainty.options import ModelOptions

#: slope of the attention's leaky ReLU for negative scores
SLOPE = 0.2


class GraphAttention(nn.Module):
    """x (batch, node, in), neighbours (node, K) -> (batch, node, out): heads side by side, softmax over the K neighbours."""

    def __init__(self, width_in: int, width_out: int, heads: int, edge_width: int = 0) -> None:
        super().__init__()
        each = width_out // heads
        self.heads, self.each = heads, each
        self.linear = nn.Linear(width_in, width_out, bias=False)
        self.from_source = nn.Parameter(torch.empty(heads, each))
        self.from_target = nn.Parameter(torch.empty(heads, each))
        self.bias = nn.Parameter(torch.zeros(width_out))
        self.edge_linear = nn.Linear(edge_width, width_out, bias=False) if edge_width else None
        self.from_edge = nn.Parameter(torch.empty(heads, each)) if edge_width else None
        for parameter in (self.linear.weight, self.from_source, self.from_target):
            nn.init.xavier_uniform_(parameter)
        if self.edge_linear is not None and self.from_edge is not None:
            nn.init.xavier_uniform_(self.edge_linear.weight)
            nn.init.xavier_uniform_(self.from_edge)

    def forward(self, x: Tensor, neighbours: Tensor, edges: Tensor | None = None) -> Tensor:
        batch, nodes, _ = x.shape
        values = self.linear(x).view(batch, nodes, self.heads, self.each)
        source, target = (values * self.from_source).sum(-1), (values * self.from_target).sum(-1)
        scores = source[:, neighbours] + target[:, :, None]
        if self.edge_linear is not None and edges is not None:
            along = self.edge_linear(edges).view(*edges.shape[:2], self.heads, self.each)
            scores = scores + (along * self.from_edge).sum(-1)
        weight = torch.softmax(nn.functional.leaky_relu(scores, SLOPE), dim=2)
        mixed = (weight[..., None] * values[:, neighbours]).sum(dim=2)
        return mixed.reshape(batch, nodes, -1) + self.bias


class Network(nn.Module):
    """Covariates (batch, node, C) -> (batch, node, outputs); exactly 0 before the first step.

    Linear map plus a learned vector per channel, then residual attention layers, then a linear output beside a linear
    short cut to output 0 from the covariates and from their mean over the neighbours (without edges: themselves).
    """

    def __init__(self, covariates: int, nodes: int, outputs: int, options: ModelOptions, edge_width: int = 0) -> None:
        super().__init__()
        width = options.hidden
        self.enter = nn.Linear(covariates, width)
        self.embedding = nn.Parameter(0.1 * torch.randn(nodes, width))
        self.layers = nn.ModuleList(GraphAttention(width, width, options.heads, edge_width) for _ in range(options.layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(options.layers))
        self.dropout = nn.Dropout(options.dropout)
        self.leave = nn.Linear(width, outputs)
        self.shortcut = nn.Linear(2 * covariates, 1, bias=False)
        for parameter in (self.leave.weight, self.leave.bias, self.shortcut.weight):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, neighbours: Tensor, edges: Tensor | None = None) -> Tensor:
        hidden = self.enter(x) + self.embedding
        for layer, norm in zip(self.layers, self.norms, strict=True):
            hidden = hidden + self.dropout(nn.functional.elu(layer(norm(hidden), neighbours, edges)))
        out = self.leave(hidden)
        direct = self.shortcut(torch.cat([x, x[:, neighbours].mean(dim=2)], dim=-1))
        return torch.cat([out[..., :1] + direct, out[..., 1:]], dim=-1)
