// The way into work: a project, a model, go.

import { useState, type FormEvent } from 'react';

import type { ChatSession, Project } from '../api/documents';
import type { HubApi } from '../api/hub';
import { wordsOf } from '../api/refused';
import type { Collections } from './collections';
import { modelLabel } from './labels';

const NEW_PROJECT = 'new';

interface NewSessionProps {
  api: HubApi;
  collections: Collections;
  onProject: (project: Project) => void;
  onCreated: (session: ChatSession) => void;
}

export function NewSession({ api, collections, onProject, onCreated }: NewSessionProps) {
  const { projects, models, isLoaded } = collections;
  const [chosenProject, chooseProject] = useState<string | null>(null);
  const [chosenModel, chooseModel] = useState(0);
  const [name, setName] = useState('');
  const [gitUrl, setGitUrl] = useState('');
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const projectId = chosenProject ?? projects[0]?._id ?? NEW_PROJECT;
  const isNewProject = projectId === NEW_PROJECT;
  const model = models[chosenModel];

  const create = async () => {
    let project = projectId;
    if (isNewProject) {
      const made = await api.createProject({ name: name.trim(), ...(gitUrl.trim() === '' ? {} : { gitUrl: gitUrl.trim() }) });
      onProject(made);
      chooseProject(made._id);
      project = made._id;
    }
    const choice = model === undefined ? {} : { provider: model.provider, selectedModel: model.id };
    onCreated(await api.createSession({ project, ...choice }));
  };

  const submit = (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    create()
      .catch((error: unknown) => setProblem(wordsOf(error)))
      .finally(() => setBusy(false));
  };

  if (!isLoaded) return <p className="empty">Loading…</p>;
  return (
    <form className="card" onSubmit={submit}>
      <h2>New session</h2>
      <label>
        <span>Project</span>
        <select value={projectId} onChange={(change) => chooseProject(change.target.value)}>
          {projects.map((project) => <option key={project._id} value={project._id}>{project.name}</option>)}
          <option value={NEW_PROJECT}>New project…</option>
        </select>
      </label>
      {isNewProject && (
        <>
          <label>
            <span>Name</span>
            <input value={name} required autoComplete="off" onChange={(change) => setName(change.target.value)} />
          </label>
          <label>
            <span>Git URL <small>empty for a new start</small></span>
            <input value={gitUrl} autoComplete="off" inputMode="url" spellCheck={false} onChange={(change) => setGitUrl(change.target.value)} />
          </label>
        </>
      )}
      <label>
        <span>Model</span>
        <select value={chosenModel} onChange={(change) => chooseModel(Number(change.target.value))} disabled={models.length === 0}>
          {models.map((each, index) => <option key={`${each.provider}/${each.id}`} value={index}>{modelLabel(each)}</option>)}
          {models.length === 0 && <option>No model is configured</option>}
        </select>
      </label>
      {model?.simulated === true && (
        <p className="note">The demo tour plays a script through the real agent loop and its tools. No AI is involved.</p>
      )}
      {problem !== null && <p className="problem" role="alert">{problem}</p>}
      <button type="submit" className="primary" disabled={isBusy}>{isBusy ? 'Creating…' : 'Create session'}</button>
    </form>
  );
}
