"""A shop: tables with foreign keys become a graph by themselves, and a GNN says who will come back.

    python examples/shop.py [--customers 5000] [--epochs 80]

The data are made up here: customers, products, stores, and orders that refer to all three, with text, dates and NULLs. Nobody
declares a graph: as RelBench reads a database (arXiv:2407.20060), tables are node types and foreign keys edge types.

The task: will a customer order in the 30 days after the cutoff? SQL gives the answers; features, statistics and messages are
of the time before it. The answers of some customers train, those of others test: the area under the ROC curve is printed
beside that of every single column a shop would look at. Chances and embeddings are written back, and SQL goes on from there.

What is planted: some products please their buyers and some drive them away, which no column says; how soon one comes
back depends on the kind of product bought; and what one buys depends on a segment that is not in the tables either.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere in PyTorch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import SAGEConv

import dbgnn

#: Two years and a month are made up; what comes after the cutoff is the future.
FIRST, CUTOFF, LAST = np.datetime64("2024-01-01"), np.datetime64("2026-01-01"), np.datetime64("2026-01-31")

#: Per category: days until a buyer comes back, on average, and words for names.
CATEGORIES = {
    "coffee": (15, "espresso beans roast"),
    "tea": (20, "oolong leaves jasmine"),
    "pets": (12, "biscuits cat crunchy"),
    "garden": (45, "seeds spade roses"),
    "books": (40, "novel atlas stories"),
    "tools": (80, "drill hammer steel"),
    "lamps": (120, "lantern glass shade"),
    "wine": (30, "riesling red barrel"),
}

#: Launched after the cutoff: no category that anything is fitted on.
NEW = "wine"


def load(db: dbgnn.Database, *, customers: int, seed: int) -> None:
    """Make the shop up."""
    rng = np.random.default_rng(seed)
    names, products, days = list(CATEGORIES), 300, int((LAST - FIRST).astype(int))
    category = rng.integers(len(names), size=products)
    returns = np.array([CATEGORIES[n][0] for n in names])[category] * rng.lognormal(sigma=0.4, size=products)
    leave = np.where(rng.random(products) < 0.2, 0.25, 0.005)  # one product in five disappoints
    words = np.array([CATEGORIES[n][1].split() for n in names])[category]
    name = [f"{rng.choice(['old', 'fine', 'daily', 'royal'])} {rng.choice(w)} {rng.choice(w)}" for w in words]

    # Each segment likes two or three categories; what is popular within them goes by Zipf's law.
    segment = rng.integers(5, size=customers)
    likes = rng.permuted(np.tile([12.0, 12.0, 4.0] + [0.4] * (len(names) - 3), (5, 1)), axis=1)
    share = likes[:, category] / (1 + rng.permutation(products)) ** 0.6
    share[:, category == names.index(NEW)] = 0
    until = np.cumsum(share / share.sum(axis=1, keepdims=True), axis=1)
    joined = rng.integers(days, size=customers)
    pace = rng.lognormal(sigma=0.5, size=customers)

    # Order by order, of all who are still there.
    who, day, parts = np.arange(customers), joined + rng.exponential(5, customers), []
    while len(who := who[day[who] < days]):
        what = (until[segment[who]] < rng.random((len(who), 1))).sum(axis=1).clip(max=products - 1)
        parts.append((who, what, day[who].astype(int)))
        day[who] += rng.gamma(3, returns[what] * pace[who] / 3)
        who = who[rng.random(len(who)) > leave[what]]
    bought_by, bought, on = (np.concatenate(p) for p in zip(*parts, strict=True))
    order = np.argsort(on, kind="stable")
    bought_by, bought, on = bought_by[order], bought[order], on[order]

    def some(values: Any, share: float) -> pa.Array:
        """Return the values with NULL in a share of them."""
        return pa.array(values, mask=rng.random(len(values)) < share)

    hints = np.array(["has a dog", "lives in a flat", "rents a garden", "works at night", "reads a lot"])
    wrong = rng.random(customers) < 0.3
    note = np.where(wrong, rng.choice(hints, customers), hints[segment])
    tables = {
        "customer": {
            "id": 1000 + 7 * np.arange(customers),
            "age": some(np.clip(rng.normal(30 + 7 * segment, 9), 18, 90).astype(int), 0.2),
            "city": rng.choice(["Aachen", "Bergen", "Cork", "Delft"], customers),
            "joined": FIRST + joined,
            "note": some(note, 0.5),
        },
        "product": {
            "id": np.arange(products),
            "name": name,
            "category": np.array(names)[category],
            "price": np.round(rng.lognormal(2.5, 0.6, products), 2),
            "launched": np.where(category == names.index(NEW), CUTOFF + 10, FIRST),
        },
        "store": {"id": np.arange(12), "size": rng.choice(["small", "large"], 12)},
        "orders": {
            "id": np.arange(len(on)),
            "customer_id": 1000 + 7 * bought_by,
            "product_id": bought,
            "store_id": some(rng.integers(12, size=len(on)), 0.4),  # NULL: over the web
            "placed": FIRST + on,
            "quantity": some(1 + rng.poisson(0.7, len(on)), 0.05),
        },
    }
    db.execute("""
        CREATE TABLE customer (id BIGINT PRIMARY KEY, age INTEGER, city VARCHAR, joined DATE, note VARCHAR);
        CREATE TABLE product (id BIGINT PRIMARY KEY, name VARCHAR, category VARCHAR, price DECIMAL(8, 2), launched DATE);
        CREATE TABLE store (id BIGINT PRIMARY KEY, size VARCHAR);
        CREATE TABLE orders (
          id BIGINT PRIMARY KEY,
          customer_id BIGINT REFERENCES customer (id),
          product_id BIGINT REFERENCES product (id),
          store_id BIGINT REFERENCES store (id),
          placed DATE,
          quantity INTEGER
        )
    """)
    for table, columns in tables.items():
        rows = pa.table(columns)  # noqa: F841 - DuckDB finds it by its name
        db.execute(f"INSERT INTO {table} SELECT * FROM rows")


#: Per customer: whether there is an order after the cutoff.
COMES_BACK = f"""
    SELECT id, id IN (SELECT customer_id FROM orders WHERE placed >= DATE '{CUTOFF}')
    FROM customer WHERE joined < DATE '{CUTOFF}'
"""

#: Per order, as known at the cutoff: whether the customer ordered again, and the logarithm of the days until then.
THEN = f"""
    SELECT id, [(again IS NOT NULL)::INT, ln(1 + datediff('day', placed, coalesce(again, DATE '{CUTOFF}')))]::FLOAT[2]
    FROM (SELECT *, lead(placed) OVER (PARTITION BY customer_id ORDER BY placed, id) AS again
          FROM orders WHERE placed < DATE '{CUTOFF}')
"""


def bag_of_words(names: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return which of 32 hash values are those of a name's words [n, 32]."""
    out = np.zeros((len(names), 32), dtype=np.float32)
    for row, name in zip(out, names, strict=True):
        row[[zlib.crc32(word.encode()) % 32 for word in name.split()]] = 1
    return out


def how_long_ago(placed: pa.Array) -> np.ndarray[Any, Any]:
    """Return the logarithm of the days between dates and the cutoff, as one column [n, 1]."""
    days: np.ndarray[Any, Any] = (CUTOFF - placed.to_numpy(zero_copy_only=False)).astype(np.float32)[:, None]
    np.log1p(days, out=days)
    return days


def read(graph: dbgnn.Graph) -> HeteroData:
    """Return the graph as it was at the cutoff, in both directions, and what customers did in the 30 days after it."""
    stack = dbgnn.Stack
    return graph.to_heterodata(
        where={"customer": f"joined < DATE '{CUTOFF}'", "orders": f"placed < DATE '{CUTOFF}'"},
        encoders={
            "customer": {
                "x": stack(
                    dbgnn.Normalize("age", null="mask"),
                    dbgnn.OneHot("city"),
                    dbgnn.Datetime("joined", parts=("epoch", "month")),
                    dbgnn.Hash("note", buckets=16, output="onehot", null="mask"),
                ),
            },
            "product": {
                "x": stack(dbgnn.OneHot("category", unseen="zero"), dbgnn.Normalize("price"), dbgnn.Text(bag_of_words, "name")),
            },
            "store": {"x": dbgnn.OneHot("size")},
            "orders": {
                "x": stack(
                    dbgnn.Apply(how_long_ago, "placed"),
                    dbgnn.Datetime("placed", parts=("month", "dayofweek")),
                    dbgnn.Normalize("quantity", null="mask"),
                ),
            },
        },
        # Of customers and orders nothing but the past is there; the catalogue knows products to come.
        fit={"product": f"launched < DATE '{CUTOFF}'"},
        attributes={"customer": {"y": COMES_BACK}, "orders": {"then": THEN}},
        splits={"customer": dbgnn.HashSplit(train=0.6, val=0.2, test=0.2)},
        keys=True,
        reverse=True,
    )


class GraphSAGE(nn.Module):
    """Three hops: products learn from their orders, orders from what was bought and where, customers from their orders."""

    def __init__(self, data: HeteroData, hidden: int = 32) -> None:
        super().__init__()
        width = {t: data[t].x.size(1) + (2 if t == "orders" else 0) for t in data.node_types}
        self.first = nn.ModuleDict({t: nn.Linear(size, hidden) for t, size in width.items()})
        self.to_product, self.bought, self.where = (SAGEConv(hidden, hidden) for _ in range(3))
        self.to_customer = SAGEConv(hidden, hidden, aggr="max")
        self.last = nn.Linear(hidden, 1)

    def forward(self, data: HeteroData) -> tuple[Tensor, Tensor]:
        """Return logits of customers [N] and embeddings of products [M, hidden]."""
        x = data.x_dict | {"orders": torch.cat([data["orders"].x, data["orders"].then], dim=1)}
        x, edges = {t: self.first[t](h).relu() for t, h in x.items()}, data.edge_index_dict
        product = self.to_product((x["orders"], x["product"]), edges["orders", "product_id", "product"]).relu()
        orders = self.bought((product, x["orders"]), edges["product", "rev_product_id", "orders"])
        orders = (orders + self.where((x["store"], x["orders"]), edges["store", "rev_store_id", "orders"])).relu()
        orders = F.dropout(orders, 0.3, self.training)
        customer = self.to_customer((orders, x["customer"]), edges["orders", "customer_id", "customer"]).relu()
        return self.last(F.dropout(customer, 0.3, self.training))[:, 0], product


def fit(data: HeteroData, *, epochs: int, seed: int) -> GraphSAGE:
    """Train on the customers of the training part; keep the state that was best on those of the validation part."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # tensors this small gain nothing by more
    model, customer = GraphSAGE(data), data["customer"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=1e-3)

    def loss(part: str) -> Tensor:
        mask = customer[f"{part}_mask"]
        return F.binary_cross_entropy_with_logits(model(data)[0][mask], customer.y[mask].float())

    best, state = float("inf"), copy.deepcopy(model.state_dict())
    for epoch in range(1, epochs + 1):
        model.train()
        optimizer.zero_grad()
        loss("train").backward()
        optimizer.step()
        if epoch % 5:
            continue
        model.eval()
        with torch.no_grad():
            now = float(loss("val"))
        if now < best:
            best, state = now, copy.deepcopy(model.state_dict())
        if epoch % 20 == 0:
            print(f"epoch {epoch:3d}  validation loss {now:.4f}")
    model.load_state_dict(state)
    return model


@torch.no_grad()
def write_back(graph: dbgnn.Graph, model: GraphSAGE, data: HeteroData) -> None:
    """Write chances beside the customers, and embeddings to a table of their own, since orders hold the products in place."""
    logits, embedding = model.eval()(data)
    customer = data["customer"]
    graph.write_back("customer", keys=customer.id, chance=logits.sigmoid(), comes_back=customer.y, tested=customer.test_mask)
    embedding -= embedding.mean(dim=0)  # or all would point the same way
    graph.write_back("product", keys=data["product"].id, into="product_embedding", embedding=embedding)


#: The area under the ROC curve (Mann and Whitney's statistic) of everything known of the customers tested, in either direction.
AUC = f"""
    WITH past AS (
      SELECT customer_id AS id, count(*) AS orders, datediff('day', max(placed), DATE '{CUTOFF}') AS days_since_last,
             datediff('day', min(placed), max(placed)) / count(*) AS days_between, sum(price * quantity) AS spent
      FROM orders JOIN product ON product.id = product_id WHERE placed < DATE '{CUTOFF}' GROUP BY ALL
    ), fact AS (
      UNPIVOT (SELECT comes_back, epoch(joined)::DOUBLE AS joined, coalesce(age, -1)::DOUBLE AS age,
                      coalesce(orders, 0)::DOUBLE AS orders, coalesce(days_since_last, 1e4)::DOUBLE AS days_since_last,
                      coalesce(days_between, 1e4)::DOUBLE AS days_between, coalesce(spent, 0)::DOUBLE AS spent,
                      chance::DOUBLE AS "the GNN"
               FROM customer LEFT JOIN past USING (id) WHERE tested)
      ON * EXCLUDE (comes_back) INTO NAME what VALUE value
    ), ranked AS (
      SELECT what, comes_back, rank() OVER same + (count(*) OVER (PARTITION BY what, value) - 1) / 2 AS place
      FROM fact WINDOW same AS (PARTITION BY what ORDER BY value)
    ), area AS (
      SELECT what, count(*) FILTER (comes_back) AS yes, count(*) FILTER (NOT comes_back) AS no,
             (sum(place) FILTER (comes_back) - yes * (yes + 1) / 2) / (yes * no) AS a
      FROM ranked GROUP BY what
    )
    SELECT what, greatest(a, 1 - a) AS auc FROM area ORDER BY auc DESC
"""

#: What customers bought last, and how many of them come back.
BY_CATEGORY = f"""
    SELECT last, count(*) AS customers, avg(chance) AS foretold, avg(comes_back::INT) AS came
    FROM (SELECT customer.*, arg_max(category, placed) AS last
          FROM orders JOIN customer ON customer.id = customer_id JOIN product ON product.id = product_id
          WHERE placed < DATE '{CUTOFF}' AND tested GROUP BY ALL)
    GROUP BY last ORDER BY foretold DESC
"""

#: Products like the one bought most, by what their buyers did.
NEAREST = """
    WITH most AS (SELECT mode(product_id) AS id FROM orders)
    SELECT a.name, b.name, b.category, array_cosine_similarity(x.embedding, y.embedding) AS similarity
    FROM most JOIN product AS a USING (id) JOIN product_embedding AS x USING (id)
         JOIN product_embedding AS y ON y.id <> x.id JOIN product AS b ON b.id = y.id
    ORDER BY similarity DESC, b.id LIMIT 5
"""


def main() -> None:
    """Read the arguments, make the shop up, train, write back, and ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, dbgnn.connect(Path(folder) / "shop.duckdb") as db:
        load(db, customers=args.customers, seed=args.seed)
        graph = db.graph()
        data = read(graph)
        print(data)
        write_back(graph, fit(data, epochs=args.epochs, seed=args.seed), data)

        print("area under the ROC curve, of test customers:")
        for what, auc in db.sql(AUC).fetchall():
            print(f"  {what:<16} {auc:.4f}")
        print("by what they bought last:  customers  foretold  came back")
        for last, customers, foretold, came in db.sql(BY_CATEGORY).fetchall():
            print(f"  {last:<24} {customers:9,} {foretold:9.1%} {came:10.1%}")
        for i, (name, other, category, similarity) in enumerate(db.sql(NEAREST).fetchall()):
            print(*([] if i else [f"nearest to {name!r}:\n"]), f" {similarity:.3f}  {other} ({category})", sep="")
    print(f"{time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
