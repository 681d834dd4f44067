// Words of the page, explained where the pointer rests on them.
export const GLOSSARY = {
  "done": "Shares that fills have reported, of the order's quantity.",
  "left": "Shares that are still to be traded.",
  "left over": "Shares that the order's limits and its window cannot hold. With a limit price: what it can be expected to leave.",
  "last trade": "End of the last interval in which the plan trades.",
  "cost so far": "What the fills have paid against the mid when the order began (arrival), in basis points of their value and in currency. It includes the market's own move.",
  "expected for the rest": "What the plan for the rest is expected to pay over mid: half-spread and impact. In brackets: 95 of 100 such plans cost between these.",
  "TWAP for the rest": "What equal quantities in every interval of the window would be expected to pay, by the same model.",
  "the rest at once": "What the whole rest is expected to pay over mid in one trade now. Beyond the books: larger than any size that they have shown, so the line of the model goes on. A dash: nothing is left, or it is more than five times as large.",
  "saved so far": "What an even pace of the same executed quantity would have paid, less what the order paid, both over mid. A dash: nothing was executed, or no fill was reported.",
  "response": "Change of mid, half-spread and impact around the order's fills since the minute before, against minutes of the same half hour without fills. Mid: up means that the price followed the fills. Impact: what a fixed size costs beyond the half-spread on the side that the fills take; more is a thinner book.",
  "share of volume": "Shares done, of all that traded in the market since the order began.",
  "implementation shortfall": "What the whole order cost against the mid when it began: spread, impact, timing (the market's move) and opportunity (what was not traded).",
  "spread, impact, timing, opportunity": "The parts of the implementation shortfall; they add up to it.",
  "spread, impact, timing": "The parts of the cost so far; they add up to it.",
  "in auctions": "What entries in auctions are expected to cost, above the price that the auction would have without them.",
  "half-spread": "Half the difference of best bid and best ask, in basis points of mid.",
  "depth": "Largest size that the book held for at least 95% of the minute, shares.",
  "bps": "Basis point: a hundredth of a percent.",
  "lag": "Records that wait to be read.",
  "oldest tick": "Seconds since the last tick of the partition that has waited longest.",
  "tick age": "Seconds since the partition's last tick.",
  "minutes behind": "How far the clock of the data is behind the wall clock; `recorded` for a day of the past.",
  "commits": "Transactions that the process has committed; inputs count and outputs show with them.",
  "commit, median": "Duration of a commit to the broker.",
  "commit, slowest 1%": "99 of 100 commits take less.",
  "dead letters": "Records that could not be read; they are on the topic dlq with the reason.",
  "restores": "How often state was read back, at starts and moves of partitions.",
};

// Mark an element's text as a term of the glossary.
export function term(element, name) {
  const text = GLOSSARY[name];
  if (text) { element.title = text; element.classList.add("term"); }
}
