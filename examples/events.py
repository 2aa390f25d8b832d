"""Events: will this account be taken over within 30 days? A task over generated transactions, with time respected and without.

    python examples/events.py [--accounts 3000] [--epochs 3]

A year of transactions of accounts at merchants is generated. Some accounts are taken over. In the weeks before, most of those
see a few tiny payments from a new device, as some others do; in the days after, large ones, and then nothing more.

The question is a query: for every account and first of a month, whether the account is taken over in the 30 days that follow.
Its rows are the seeds. With ``time_attr`` a mini-batch holds nothing that is later than its seed. Then the same model is
trained and tested without, so that it may look at what happens after its question is asked. Both areas under the ROC curve
(AUC) are printed: the second is what such a leak promises, and what nobody will ever see in use.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere in PyTorch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import SAGEConv

import dbgnn

#: Microseconds in a day: timestamps arrive as microseconds since 1970.
DAY = 86_400_000_000

#: Questions until September train; those of October to December test.
CUT = "2023-09-02"

QUESTIONS = """
    SELECT account, as_of, coalesce(taken_over BETWEEN as_of AND as_of + INTERVAL 30 DAY, false) AS soon
    FROM accounts, (SELECT unnest(generate_series(DATE '2023-03-01', DATE '2023-12-01', INTERVAL 1 MONTH))::DATE AS as_of)
    WHERE taken_over IS NULL OR taken_over > as_of
    ORDER BY as_of ASC, account ASC
"""

#: The area under the ROC curve: how often a row that came true was ranked above one that did not.
AUC = """
    WITH ranked AS (
      SELECT soon, rank() OVER (ORDER BY pred ASC) + (count(*) OVER (PARTITION BY pred) - 1) / 2 AS place
      FROM {scores} JOIN question USING (account, as_of)
    )
    SELECT (sum(place) FILTER (soon) - count(*) FILTER (soon) * (count(*) FILTER (soon) + 1) / 2)
           / (count(*) FILTER (soon) * count(*) FILTER (NOT soon))
    FROM ranked
"""


def generate(db: dbgnn.Database, accounts: int) -> None:
    """Fill the file: accounts, merchants and transactions, alike at every run."""
    # Numbers from 0 to 1 that depend on nothing but an account, a number, and what they are for.
    db.execute("CREATE MACRO chance(a, i, what) AS hash(a, i, what) % 1000003 / 1000003.0")
    db.execute("CREATE MACRO on_day(n) AS TIMESTAMP '2023-01-01' + to_microseconds((n * 86400000000)::BIGINT)")
    db.execute(f"""
        CREATE TABLE accounts AS
        SELECT account,
               CASE WHEN chance(account, 0, 'taken') < 0.3 THEN on_day(60 + 300 * chance(account, 0, 'when')) END AS taken_over,
               [chance(account, 0, 'age'), chance(account, 0, 'limit')]::FLOAT[2] AS x
        FROM range({accounts}) AS t(account)
    """)
    db.execute("CREATE TABLE merchants AS SELECT merchant, [merchant % 5]::FLOAT[1] AS x FROM range(200) AS t(merchant)")
    db.execute("""
        CREATE TABLE transactions AS
        WITH made AS (
          -- what people buy, until an account is closed
          SELECT account, on_day(365 * chance(account, i, 'day')) AS ts, 3 + 2 * chance(account, i, 'amount') AS amount,
                 chance(account, i, 'device') < 0.05 AS new_device
          FROM accounts, range(36) AS t(i)
          UNION ALL
          -- tiny payments of somebody who tries stolen cards: before most take-overs, and on some other accounts
          SELECT account, coalesce(taken_over, on_day(60 + 300 * chance(account, 0, 'false alarm')))
                 - to_microseconds((chance(account, i, 'tried') * 45 * 86400000000)::BIGINT), chance(account, i, 'tiny'), true
          FROM accounts, range(4) AS t(i)
          WHERE chance(account, 0, 'tries') < CASE WHEN taken_over IS NULL THEN 0.15 ELSE 0.8 END
          UNION ALL
          -- and after the take-over, as much as can be had
          SELECT account, taken_over + to_microseconds((chance(account, i, 'then') * 5 * 86400000000)::BIGINT),
                 6 + chance(account, i, 'large'), true
          FROM accounts, range(6) AS t(i) WHERE taken_over IS NOT NULL
        )
        SELECT row_number() OVER (ORDER BY ts ASC, account ASC, amount ASC) - 1 AS id, account,
               (hash(account, ts) % 200)::BIGINT AS merchant, ts, [amount, new_device::FLOAT]::FLOAT[2] AS x
        FROM made JOIN accounts USING (account)
        WHERE taken_over IS NULL OR ts <= taken_over + INTERVAL 5 DAY
    """)
    db.execute(f"CREATE TABLE question AS {QUESTIONS}")
    db.execute("""
        CREATE PROPERTY GRAPH payments
          VERTEX TABLES (
            accounts     KEY (account)  PROPERTIES (x)     LABEL account,
            merchants    KEY (merchant) PROPERTIES (x)     LABEL merchant,
            transactions KEY (id)       PROPERTIES (x, ts) LABEL payment
          )
          EDGE TABLES (
            transactions SOURCE KEY (id) REFERENCES payment (id) DESTINATION KEY (account) REFERENCES account (account)
                         NO PROPERTIES LABEL of,
            transactions SOURCE KEY (merchant) REFERENCES merchant (merchant) DESTINATION KEY (id) REFERENCES payment (id)
                         NO PROPERTIES LABEL took
          )
    """)


class Model(nn.Module):
    """What an account's payments are like, and how long before the question they were made."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.payment = nn.Linear(2 + 4, hidden)
        self.merchant = SAGEConv((1, hidden), hidden)
        self.account = SAGEConv((hidden, 2), hidden, aggr="max")
        self.out = nn.Linear(hidden, 1)

    def forward(self, batch: HeteroData) -> Tensor:
        """Return the logits of the batch's seeds [batch_size]."""
        payment, account = batch["payment"], batch["account"]
        days = (account.seed_time[payment.batch] - payment.ts)[:, None] / DAY
        # Every payment's time before the question (after it, below 0), in steps that the model can tell apart.
        age = torch.cat([days < 0, days < 7, days < 30, days < 60], dim=1).float()
        x = self.payment(torch.cat([payment.x, age], dim=1)).relu()
        x = self.merchant((batch["merchant"].x, x), batch["merchant", "took", "payment"].edge_index).relu()
        x = self.account((x, account.x), batch["payment", "of", "account"].edge_index).relu()
        out: Tensor = self.out(x[: account.batch_size])[:, 0]
        return out


def run(db: dbgnn.Database, scores: str, *, epochs: int, seed: int, time_attr: str | None) -> float:
    """Train on the questions until the cut, answer those after it into a table; return the AUC of the answers."""
    torch.manual_seed(seed)
    graph = db.graph("payments")

    def loader(condition: str, *, shuffle: bool = False) -> dbgnn.NeighborLoader:
        task = dbgnn.EntityTask(
            f"SELECT account, as_of, soon FROM question WHERE {condition}", entity="account", time="as_of", target="soon"
        )
        return dbgnn.NeighborLoader(
            graph, [40, 1], input_nodes=task, time_attr=time_attr, disjoint=True, batch_size=256, seed=seed, shuffle=shuffle
        )

    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train = loader(f"as_of < DATE '{CUT}'", shuffle=True)
    rates = "SELECT count(*) FILTER (NOT soon) / count(*) FILTER (soon) FROM question WHERE as_of < ?"
    [(odds,)] = db.sql(rates, [CUT]).fetchall()
    for epoch in range(1, epochs + 1):
        total = 0.0
        for batch in train:
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(model(batch), batch["account"].y, pos_weight=torch.tensor(odds))
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"  epoch {epoch}  loss {total / len(train):.3f}")
    graph.predict(model, loader(f"as_of > DATE '{CUT}'"), into=scores)
    [(auc,)] = db.sql(AUC.format(scores=scores)).fetchall()
    return float(auc)


def main() -> None:
    """Read the arguments, generate the tables, train twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, dbgnn.connect(Path(folder) / "payments.duckdb") as db:
        generate(db, args.accounts)
        [(rows, true)] = db.sql("SELECT count(*), count(*) FILTER (soon) FROM question").fetchall()
        print(f"{rows:,} questions, {true:,} of them with yes for an answer")
        print("nothing later than its question (time_attr='ts'):")
        honest = run(db, "scores", epochs=args.epochs, seed=args.seed, time_attr="ts")
        print("the same model without time_attr:")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dbgnn says that such a loader looks into the future, which is the point here
            leaky = run(db, "leaky_scores", epochs=args.epochs, seed=args.seed, time_attr=None)
    print(f"honest AUC {honest:.3f}, leaky AUC {leaky:.3f}, {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
