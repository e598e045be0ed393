/** Cards, pages, and what stands where there is nothing to show. */
import { useEffect, type ReactNode } from "react";
import { messageOf } from "../api/client";
import { Button } from "./controls";
import { Icon, type IconName } from "./Icon";

export function Card(props: {
  title?: ReactNode;
  sub?: ReactNode;
  end?: ReactNode;
  className?: string;
  children: ReactNode;
}) {
  return (
    <section className={`card ${props.className ?? ""}`}>
      {(props.title || props.end) && (
        <header>
          <h2>{props.title}</h2>
          {props.sub && <span className="sub">{props.sub}</span>}
          {props.end && <span className="end">{props.end}</span>}
        </header>
      )}
      {props.children}
    </section>
  );
}

export function Page(props: { title: ReactNode; sub?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  const { title } = props;
  useEffect(() => {
    document.title = typeof title === "string" ? `${title} · Stoker` : "Stoker";
  }, [title]);
  return (
    <div className="page">
      <div className="page-head">
        <h1>{props.title}</h1>
        {props.sub && <span className="sub">{props.sub}</span>}
        {props.actions && <div className="actions">{props.actions}</div>}
      </div>
      {props.children}
    </div>
  );
}

export function Empty({ icon = "jobs", title, children }: { icon?: IconName; title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <Icon name={icon} size={22} />
      <span className="strong">{title}</span>
      {children && <span>{children}</span>}
    </div>
  );
}

export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  return (
    <div className="empty" role="alert">
      <Icon name="alert" size={22} />
      <span className="strong">This could not be loaded</span>
      <span>{messageOf(error)}</span>
      {retry && <Button onClick={retry} icon="retry">Try again</Button>}
    </div>
  );
}

export function Bones({ rows = 5 }: { rows?: number }) {
  return (
    <div className="bones" role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, row) => <i key={row} />)}
    </div>
  );
}
