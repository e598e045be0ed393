/** Cards, tables, and what stands where there is nothing to show. */
import { memo, useEffect, type ReactNode } from "react";
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

export interface Column<Row> {
  key: string;
  head: ReactNode;
  className?: string;
  /** The same function while it shows the same: a row is drawn again when it or one of these changed. */
  cell: (row: Row, chosen: boolean) => ReactNode;
}

interface RowProps<Row> {
  row: Row;
  columns: readonly Column<Row>[];
  className: string | undefined;
  chosen: boolean;
}

function RowOf<Row>({ row, columns, className, chosen }: RowProps<Row>) {
  return <tr className={className}>{columns.map((c) => <td key={c.key} className={c.className}>{c.cell(row, chosen)}</td>)}</tr>;
}

const sameCells = <Row,>(one: readonly Column<Row>[], other: readonly Column<Row>[]): boolean =>
  one.length === other.length && one.every((c, index) => c.cell === other[index]?.cell && c.className === other[index].className);

const KeptRow = memo(RowOf, (one, other) =>
  one.row === other.row && one.className === other.className && one.chosen === other.chosen && sameCells(one.columns, other.columns),
) as typeof RowOf;

export function Table<Row>(props: {
  label: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  rowKey: (row: Row) => string;
  rowClass?: (row: Row, index: number) => string;
  isChosen?: (row: Row) => boolean;
}) {
  return (
    <div className="table-box" tabIndex={-1}>
      <table className="table" aria-label={props.label}>
        <thead>
          <tr>{props.columns.map((c) => <th key={c.key} scope="col" className={c.className}>{c.head}</th>)}</tr>
        </thead>
        <tbody>
          {props.rows.map((row, index) => (
            <KeptRow key={props.rowKey(row)} row={row} columns={props.columns} className={props.rowClass?.(row, index)} chosen={props.isChosen?.(row) ?? false} />
          ))}
        </tbody>
      </table>
    </div>
  );
}
