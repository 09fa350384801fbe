import type { Model } from '../api/documents';

/** A scripted model never looks like a real one. */
export function modelLabel(model: Model): string {
  return model.simulated === true ? 'Demo tour, scripted, no AI' : `${model.name || model.id} · ${model.provider}`;
}

/** Real models first: the demo is for when there is none. */
export function inOrderOfChoice(models: readonly Model[]): Model[] {
  return models.toSorted((a, b) => Number(a.simulated ?? false) - Number(b.simulated ?? false));
}
