import { judgePromote, judgeReceive, judgeTakeBack } from "./judge.ts";
import { planDataset } from "./lane-plan.ts";

/**
 * The pure decisions that a node agent consists of: what it plans by itself, and what it answers to others.
 */
export interface AgentRules {
  readonly planDataset: typeof planDataset;
  readonly judgeReceive: typeof judgeReceive;
  readonly judgePromote: typeof judgePromote;
  readonly judgeTakeBack: typeof judgeTakeBack;
}

/**
 * The rules that agents follow. They are handed in rather than imported where they are used, so that the
 * simulator can exchange one by a wrong one and show that it notices.
 */
export const agentRules: AgentRules = { planDataset, judgeReceive, judgePromote, judgeTakeBack };
