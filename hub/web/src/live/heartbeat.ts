/** Calls `beat` every 19 seconds, in the background too; gives a function that ends it. */
export function startHeartbeat(beat: () => void): () => void {
  const worker = new Worker(new URL('./heartbeat.worker.ts', import.meta.url), { type: 'module' });
  worker.onmessage = beat;
  return () => worker.terminate();
}
